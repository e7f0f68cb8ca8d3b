"""``classwise reproduce`` and the list of experiments."""

from pathlib import Path

import pytest

from classwise import registry
from classwise.cli import run
from classwise.experiments import experiment, names
from classwise.published import papers


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_experiments_are_listed_with_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = answer(capsys, "recipes", "list", "--source")
    assert (code, err) == (0, "")
    assert answer(capsys, "recipes", "--source")[1] == out
    for name in names():
        made = experiment(name)
        assert made.paper in papers()
        assert made.name.startswith(made.paper)
        block = out.split(f"{name}  (")[1].split("\nfaal-")[0]
        assert made.shows in block
        assert f"Settings: {made.source}" in block
        assert all(f"Assumed: {each}" in block for each in made.assumed)


def test_recipes_are_listed_and_shown_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "recipes")
    assert code == 0
    assert answer(capsys, "recipes", "list")[1] == out
    assert all(name in out for name in registry.names("recipe"))
    assert answer(capsys, "recipes", "faal-at")[1].startswith("# Two epochs of adversarial training")
    code, _, err = answer(capsys, "recipes", "faal-at", "--source")
    assert code == 2
    assert "write classwise recipes list --source" in err


def test_commands_are_printed_and_nothing_is_trained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--rows", "PGD-AT", "--rows", "faal-trades", "--seeds", "2", "--out", str(tmp_path), "--print-commands"]
    code, out, err = answer(capsys, "reproduce", "faal-table2", "--budget", "short", *words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1] for line in lines] == ["train", "audit"] * 4
    assert all(line.endswith("--attacks standard --norm linf --radius 8/255 --per-class 100") for line in lines[1::2])
    assert sorted(path.name for path in tmp_path.rglob("*.yaml")) == [
        *(f"faal-trades-seed{seed}.yaml" for seed in (0, 1)),
        *(f"pgd-at-seed{seed}.yaml" for seed in (0, 1)),
    ]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["faal-tabel2"], "unknown experiment 'faal-tabel2': did you mean 'faal-table2'"),
        (["faal-table2", "--rows", "FAAL"], "faal-table2 has no row 'FAAL'"),
        (["faal-table2", "--seeds", "0"], "seeds 0 must be at least 1"),
        (["faal-table1", "--budget", "paper"], "give it as --start wrn-pgd-at=FILE"),
        (["faal-table1", "--start", "model.pt"], "write TRAINING=FILE"),
        (["faal-table1", "--start", "wrn-mart=none.pt"], "there is no file 'none.pt'"),
    ],
)
def test_a_wrong_word_is_named_and_mended(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = answer(capsys, "reproduce", *words)
    assert (code, out) == (2, "")
    assert err.startswith("classwise reproduce: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []
