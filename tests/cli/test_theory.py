"""``classwise theory``."""

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from classwise import registry
from classwise.theory.shown.frl_icml import FRLICML

Cli = Callable[..., tuple[int, str, str]]


def refused(answer: tuple[int, str, str], *parts: str) -> None:
    code, out, err = answer
    assert code == 2, answer
    assert out == ""
    assert err.startswith("classwise theory")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_model_and_figure_is_listed_with_its_paper(cli: Cli) -> None:
    code, out, err = cli("theory", "list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for kind in ("theory", "theory-figure"):
        for name in registry.names(kind):
            (place,) = [number for number, line in enumerate(lines) if line.split()[:1] == [name]]
            assert len(lines[place].split()) > 5
            assert lines[place + 1].strip() == registry.get(kind, name).paper
    assert "experimental" in lines[-1]


def test_a_table_has_printed_corrected_and_simulated_values(cli: Cli) -> None:
    code, out, err = cli("theory", "show", "frl-v1", "--samples", "500")
    assert (code, err) == (0, "")
    (head,) = [line for line in out.splitlines() if line.split()[:1] == ["quantity"]]
    assert head.split() == ["quantity", "as", "printed", "corrected", "simulated", "95", "%", "remark"]
    (line,) = [line for line in out.splitlines() if "natural training, error, class -1  " in line]
    assert line.split()[5:7] == ["0.2852", "0.07864"]
    assert line.rstrip().endswith("(2)")
    assert "(2) eq. 3 has K inside the root" in out
    assert "Simulated: 500 draws each; 95 % Wilson intervals." in out
    assert "sigma 1.5*" in out
    assert "* sigma is assumed: the paper states no number" in out


def test_parameters_are_flags_and_a_given_one_is_not_called_assumed(cli: Cli) -> None:
    given = {"d": "10", "eta": "0.5", "ratio": "2", "radius": "0.2", "test-radius": "0.1", "samples": "0"}
    _, out, _ = cli("theory", "show", "frl-icml", *(word for name in given for word in (f"--{name}", given[name])))
    assert "d 10, eta 0.5, ratio 2, sigma 1, radius 0.2, test_radius 0.1, m 100*" in out
    assert "test_radius is assumed" not in out
    (line,) = [line for line in out.splitlines() if "robust training, intercept" in line]
    assert line.split()[-3:-1] == ["-0.8723", "-0.8723"]


def test_without_samples_there_is_no_simulation(cli: Cli) -> None:
    code, out, _ = cli("theory", "show", "faal", "--samples", "0")
    assert code == 0
    (head,) = [line for line in out.splitlines() if line.split()[:1] == ["quantity"]]
    assert head.split() == ["quantity", "as", "printed", "corrected", "remark"]
    assert "draws each" not in out
    assert "Wilson" not in out


def test_the_seed_decides_what_is_drawn(cli: Cli) -> None:
    first, again, other = (cli("theory", "show", "faal", "--samples", "300", "--seed", seed)[1] for seed in "778")
    assert first == again
    assert first != other


def test_numbers_go_to_a_file_in_full(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    code, printed, _ = cli("theory", "show", "frl-icml", "--samples", "400", "--seed", "3", "--out", out)
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"frl-icml.svg", "frl-icml.csv"}
    assert printed.endswith(f"\n{out / 'frl-icml.svg'}\n{out / 'frl-icml.csv'}\n")
    expected = FRLICML().rows(400, 3)
    written = rows_of(out / "frl-icml.csv")
    assert [row["quantity"] for row in written] == [row.quantity for row in expected]
    for one, row in zip(written, expected, strict=True):
        assert float(one["corrected"]) == row.corrected
        assert one["printed"] == ("" if row.printed is None else repr(row.printed))
        assert one["remark"] == row.remark
        if row.simulated is None:
            assert one["simulated"] == one["low"] == one["high"] == one["n"] == ""
        else:
            drawn = [float(one[name]) for name in ("simulated", "low", "high", "n")]
            assert drawn == [row.simulated.value, row.simulated.low, row.simulated.high, 400]


def test_the_picture_of_a_table_says_what_the_terminal_says(cli: Cli, tmp_path: Path) -> None:
    printed = cli("theory", "show", "faal", "--samples", "300", "--out", tmp_path)[1]
    text = (tmp_path / "faal.svg").read_text(encoding="utf-8")
    assert "@font-face" not in text
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not {each.tag.rpartition("}")[2] for each in root.iter()} & {"image", "a", "script", "foreignObject"}
    assert not [value for each in root.iter() for value in each.attrib.values() if "://" in value]
    drawn = "".join("".join(each.itertext()) for each in root.iter() if each.tag.endswith("}text"))
    assert "classwise theory show faal".replace(" ", "") in "".join(drawn.split())
    shown = printed.partition(f"\n{tmp_path}")[0]
    assert "".join(shown.split()) in "".join(drawn.split())
    first = text
    cli("theory", "show", "faal", "--samples", "300", "--out", tmp_path)
    assert (tmp_path / "faal.svg").read_text(encoding="utf-8") == first


def test_where_to_write_is_looked_at_before_anything_is_computed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed first")

    monkeypatch.setattr(FRLICML, "rows", never)
    monkeypatch.setattr("classwise.theory.explain.explained", never)
    file = tmp_path / "file"
    file.write_text("kept", encoding="utf-8")
    refused(cli("theory", "show", "frl-icml", "--out", file), str(file))
    refused(cli("theory", "show", "frl-icml", "--out", file / "deeper"), str(file))
    (tmp_path / "frl-icml.csv").mkdir()
    refused(cli("theory", "show", "frl-icml", "--out", tmp_path), "frl-icml.csv", "is a directory")
    refused(cli("theory", "explain", "runs/at", "--out", tmp_path), str(tmp_path), "is a directory")
    refused(cli("theory", "explain", "runs/at", "--out", file / "explained.json"), str(file))
    assert file.read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["frl-icml", "--eta", "nan"], ["eta nan is out of range"]),
        (["frl-icml", "--ratio", "0.5"], ["ratio 0.5 is out of range", "above 1"]),
        (["frl-icml", "--radius", "2"], ["radius 2 is out of range", "below eta 2"]),
        (["frl-v1", "--radius", "0.05"], ["radius 0.05", "eta"]),
        (["mixup", "--prior", "1"], ["prior", "between 0 and 1"]),
        (["mixup", "--lam", "1.5"], ["lam", "0"]),
        (["cfa", "--p-minus", "0.9"], ["p_minus must be at most p_plus"]),
        (["faal", "--shares", "0.5", "0.5"], ["shares are 2, losses 3"]),
        (["faal", "--tau", "0"], ["tau 0 is out of range", "above 0"]),
        (["faal", "--samples", "-1"], ["samples -1", "at least 1, or 0"]),
        (["frl-icm"], ["frl-icm", "did you mean 'frl-icml'"]),
    ],
    ids=lambda each: " ".join(each),
)
def test_what_is_out_of_range_or_unknown_is_refused_with_a_reason(cli: Cli, words: list[str], parts: list[str]) -> None:
    refused(cli("theory", "show", *words), *parts)


def test_a_figure_is_written_as_drawing_and_numbers(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    code, printed, err = cli("theory", "figure", "mixup-figure1", "--d", "3", "--out", out)
    assert (code, err) == (0, "")
    assert {path.name for path in out.iterdir()} == {"mixup-figure1.svg", "mixup-figure1.csv"}
    figure = registry.get("theory-figure", "mixup-figure1")(d=3)
    assert (
        "\n".join(["", *figure.summary(), "", str(out / "mixup-figure1.svg"), str(out / "mixup-figure1.csv")])
        in printed
    )
    assert "d 3," in printed
    root = ET.parse(out / "mixup-figure1.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["aria-label"] == " ".join(figure.summary())
    columns, rows = figure.table()
    written = rows_of(out / "mixup-figure1.csv")
    assert list(written[0]) == columns
    assert [list(row.values()) for row in written] == [[str(value) for value in row] for row in rows]


def test_a_figure_twice_is_the_same_to_the_byte(cli: Cli, tmp_path: Path) -> None:
    for name in "ab":
        cli("theory", "figure", "cfa-figure1", "--out", tmp_path / name)
    first, again = ((tmp_path / name / "cfa-figure1.svg").read_bytes() for name in "ab")
    assert first == again


def test_figures_refuse_what_is_out_of_range_or_unknown(cli: Cli, tmp_path: Path) -> None:
    refused(cli("theory", "figure", "cfa-figure1", "--w-max", "0", "--out", tmp_path / "x"), "w_max 0", "above 0")
    refused(cli("theory", "figure", "mixup-figure3", "--out", tmp_path / "x"), "did you mean 'mixup-figure")
    assert not (tmp_path / "x").exists()
    code, _, err = cli("theory", "figure", "cfa-figure1")
    assert code == 2
    assert "--out" in err


def test_a_verb_and_a_name_are_asked_for(cli: Cli) -> None:
    for words in ((), ("show",), ("figure", "--out", "x"), ("draw",)):
        code, out, err = cli("theory", *words)
        assert (code, out) == (2, "")
        assert err


def test_runs_that_cannot_be_explained_are_refused(cli: Cli, finished: Path, tmp_path: Path) -> None:
    refused(cli("theory", "explain", tmp_path / "none"), "none")
    shutil.rmtree(finished / "audits", ignore_errors=True)
    refused(cli("theory", "explain", finished), "no finished audit", f"classwise audit {finished}")


def test_a_run_is_explained_on_the_terminal_and_in_a_file(cli: Cli, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "new" / "explained.json"
    data = ["--use", "data=gaussian-pair", "--data.n-train", "200", "--data.n-test", "100", "--use", "model=linear"]
    steps = ["--epochs", "1", "--adversary.steps", "2", "--validation-attack.steps", "2", "--threat.radius", "0.005"]
    assert cli("train", "digits-pgd-at", *data, *steps, "--out", run)[0] == 0
    assert cli("audit", run, "--radius", "0.005", "--attacks", "pgd-2")[0] == 0
    code, printed, err = cli("theory", "explain", run, "--samples", "200", "--out", out)
    assert code == 0, err
    assert printed.startswith("EXPERIMENTAL")
    assert "Test images only explain here: nothing is trained or chosen by them." in printed
    assert printed.endswith(f"Numbers in full: {out}\n")
    assert json.loads(out.read_text(encoding="utf-8"))
    refused(cli("theory", "explain", run, "--radius", "1"), "radius 1 is not there")
