"""``classwise export``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from classwise.run import Run

Cli = Callable[..., tuple[int, str, str]]
TOY = Path(__file__).with_name("toy.py")
PLUGIN = ["--plugin", str(TOY)]


def test_the_weights_of_a_run_are_written(cli: Cli, trained: Path, tmp_path: Path) -> None:
    code, out, err = cli("export", trained, tmp_path / "out", *PLUGIN)
    assert (code, err) == (0, "")
    assert f"facts.json, model.safetensors in {tmp_path / 'out'}" in out
    ours = Run(trained).model().state_dict()
    theirs = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_run_without_an_audit_is_told_how_to_get_one(cli: Cli, trained: Path, tmp_path: Path) -> None:
    _, out, _ = cli("export", trained, tmp_path / "out", "--checkpoint", "1", *PLUGIN)
    assert f"Next: classwise audit {trained} --checkpoint 1, then the same export again" in out


def test_an_export_after_an_audit_carries_its_table(cli: Cli, finished: Path, tmp_path: Path) -> None:
    words = ["export", finished, tmp_path / "out", "--format", "huggingface", *PLUGIN]
    assert cli(*words)[0] == 0
    assert "not audited" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert cli("audit", finished, "--attacks", "pgd-2", "--precision", "exact", *PLUGIN)[0] == 0
    code, out, err = cli(*words)  # the advice that was given: the same again
    assert (code, err) == (0, "")
    assert "Class tables of 1 audit (pgd-2) are part of it." in out
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| ant | 6 | " in card
    assert "exact (fp32)" in card
    facts = json.loads((tmp_path / "out" / "facts.json").read_text(encoding="utf-8"))
    assert facts["audits"][0]["tables"][0]["classes"]["names"] == ["ant", "bee", "cat"]


def test_exported_weights_can_be_audited(cli: Cli, trained: Path, tmp_path: Path) -> None:
    cli("export", trained, tmp_path / "out", *PLUGIN)
    how = ["--attacks", "pgd-2", "--precision", "exact", "--radius", "0.1", "--format", "json", *PLUGIN]
    weights = tmp_path / "out" / "model.safetensors"
    code, out, _ = cli("audit", weights, "--network", "linear", "--data", "toy", *how)
    assert code == 0
    again = json.loads(cli("audit", trained / "checkpoints" / Run(trained).checkpoint()[0].name, *how)[1])
    assert json.loads(out)["tables"][0]["classes"] == again["tables"][0]["classes"]
    whole = json.loads(cli("audit", tmp_path / "out", "--data", "toy", *how)[1])  # the folder knows its network
    assert whole["tables"][0]["classes"] == again["tables"][0]["classes"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "none", "out"], "'none' is no run directory: it has no config.yaml"),
        (["export", "{run}", "out", "--checkpoint", "9"], "has no checkpoint '9'"),
        (["export", "{run}", "{run}"], "is not empty and holds no export: give another folder"),
    ],
)
def test_a_wrong_word_is_named_and_mended(
    words: list[str], message: str, cli: Cli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*(word.format(run=trained) for word in words), *PLUGIN)
    assert code == 2
    assert out == ""
    assert err.startswith("classwise export: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []
