"""The commands audit and merge: parts, folders, formats for other programs, thresholds, plans, and what refusals say."""

import csv
import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

import classwise as cw
from classwise import ClassData, Dataset
from classwise.configuration import config
from classwise.data import DataSource, load
from classwise.evaluation import journal as journal_module
from classwise.evaluation.collect import Session
from classwise.registry import register

Cli = Callable[..., tuple[int, str, str]]
NAMES = ("a_b & 50%", "c#{d}$", r"e\f~^|g")


@register("data", "awkward-names")
@config
class Awkward(DataSource):
    """Three classes whose names mean something to LaTeX, Markdown and CSV."""

    classes = 3

    def load(self) -> Dataset:
        generator = torch.Generator().manual_seed(1)
        labels = torch.arange(42) % 3
        images = 0.5 * torch.rand(42, 1, 4, 4, generator=generator)
        images[torch.arange(42), 0, labels] += 0.3
        data = ClassData(images, labels, NAMES, name="awkward-names")
        return Dataset("awkward-names", train=data, test=lambda: data, source=self)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a linear network that is right most of the time."""
    torch.manual_seed(0)
    data = load("awkward-names").train
    net = cw.models.Linear().build(3, (1, 4, 4))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(data.images), data.labels).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "linear.safetensors"
    safetensors.torch.save_file(net.state_dict(), path)
    return path


@pytest.fixture
def audit(cli: Cli, weights: Path) -> Cli:
    """`classwise audit` of these weights; further words are added."""

    def command(*words: str | Path) -> tuple[int, str, str]:
        attacks = () if "--attacks" in words else ("--attacks", "pgd-3+square-4")
        radius = () if "--radius" in words else ("--radius", "0.06")
        given = ("--data", "awkward-names", "--network", "linear")
        return cli("audit", weights, *given, "--batch-size", "16", *attacks, *radius, *words)

    return command


def test_parts_are_audited_and_merged(audit: Cli, cli: Cli, tmp_path: Path) -> None:
    assert audit("--out", tmp_path / "whole")[0] == 0
    for number in (1, 2, 3):
        code, out, _ = audit("--shard", f"{number}/3", "--out", tmp_path / "parts")
        assert code == 0
        assert f"Saved in {tmp_path / 'parts' / f'shard-{number}-of-3'}" in out
        assert f"shard {number}/3" in out
    code, out, err = cli("merge", tmp_path / "parts")
    assert (code, err) == (0, "")
    assert f"Saved in {tmp_path / 'parts'}" in out
    whole, merged = (cw.AuditResult.load(tmp_path / name) for name in ("whole", "parts"))
    assert np.array_equal(merged.outcomes.margin, whole.outcomes.margin)
    assert out.splitlines()[:-1] == str(whole).splitlines()


def test_refusals_of_merge_reach_the_user(audit: Cli, cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("merge", tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert err.startswith("classwise merge: ")
    assert "holds no parts of an audit" in err
    audit("--shard", "1/2", "--out", tmp_path)
    code, _, err = cli("merge", tmp_path)
    assert code == 2
    assert "shard 2/2 is missing: run the audit with --shard 2/2 too" in err
    audit("--shard", "2/2", "--seed", "5", "--out", tmp_path)
    code, _, err = cli("merge", tmp_path)
    assert code == 2
    assert "shards 1/2 and 2/2 are not parts of one audit (seed: 0 → 5): run each with the same model, data" in err
    code, _, err = audit("--shard", "3/2", "--out", tmp_path)
    assert code == 2
    assert "shard '3/2': write NUMBER/TOTAL" in err


def test_an_interrupted_command_goes_on_when_given_again(
    audit: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = audit("--out", tmp_path / "whole")
    monkeypatch.setattr(journal_module, "EVERY", 0.0)
    attacked: list[int] = []
    real = Session.attack

    def stopped(self: Session, show: object, label: str, r: int, number: int) -> None:
        attacked.append(number)
        if number == 1 and len(attacked) == 2:
            raise KeyboardInterrupt
        real(self, show, label, r, number)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "attack", stopped)
    code, out, err = audit("--out", tmp_path / "out")
    assert (code, out) == (130, "")
    assert "interrupted; the same command continues from the last verdict, where --out was given" in err
    assert (tmp_path / "out" / "journal.jsonl").is_file()
    code, _, err = audit("--out", tmp_path / "out", "--seed", "3")
    assert code == 2
    assert "holds an unfinished audit of another model, or with other settings (plan.seed: 0 → 3): give another" in err
    code, out, _ = audit("--out", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[:-1] == whole[1].splitlines()[:-1]
    again = audit("--out", tmp_path / "out")
    assert again == (code, out, "")


def rows_of(result: cw.AuditResult) -> list[dict[str, object]]:
    return result.table().rows()


def test_json_is_the_whole_summary(audit: Cli, tmp_path: Path) -> None:
    code, out, err = audit("--format", "json", "--radius", "0.06", "0.03", "--out", tmp_path)
    assert code == 0
    assert f"Saved in {tmp_path}" in err
    found = json.loads(out)
    stored = json.loads((tmp_path / "summary.json").read_text())
    stored.pop("outcomes_sha256")
    assert found == stored
    result = cw.AuditResult.load(tmp_path)
    assert [each["threat"] for each in found["tables"]] == ["linf 0.06", "linf 0.03"]
    assert found["tables"][0]["weakest"] == result.weakest
    assert found["tables"][0]["worst"]["value"] == result.worst.value
    assert found["plan"]["seed"] == 0


def test_csv_reads_back(audit: Cli, tmp_path: Path) -> None:
    code, out, _ = audit("--format", "csv", "--radius", "0.06", "0.03", "--out", tmp_path)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    result = cw.AuditResult.load(tmp_path)
    assert [(row["threat"], row["class"]) for row in rows] == [
        (threat, name) for threat in ("linf 0.06", "linf 0.03") for name in NAMES
    ]
    for radius in (0, 1):
        for row, expected in zip(rows[3 * radius :], result.table(radius).rows(), strict=False):
            for field in ("n", "clean", "robust", "robust_low", "robust_high", "boundary"):
                assert float(row[field]) == expected[field], field
    assert {row["attacks"] for row in rows} == {"pgd-3+square-4"}


def test_markdown_cells_stay_in_their_columns(audit: Cli) -> None:
    code, out, err = audit("--format", "markdown")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}
    assert any(r"e\f~^\|g" in line for line in lines)
    assert set(lines[1]) <= set("|-: ")
    assert "linf 0.06" in out.splitlines()[0]


def test_latex_compiles_in_all_likelihood(audit: Cli) -> None:
    """No LaTeX is at hand: braces and environments are balanced, columns counted, special letters escaped."""
    code, out, err = audit("--format", "latex", "--radius", "0.06", "0.03")
    assert (code, err) == (0, "")
    assert out.count(r"\begin{tabular}{lrrrrr}") == out.count(r"\end{tabular}") == 2
    for line in out.splitlines():
        if line.startswith("%"):
            continue  # a comment, such as the conditions
        bare = re.sub(r"\\[&%$#_{}]|\\textbackslash\{\}|\\textasciitilde\{\}|\\textasciicircum\{\}", "", line)
        assert bare.count("{") == bare.count("}")
        assert not set(bare) & set("%$#_~^"), line
        if bare.endswith(r"\\"):
            assert bare.count("&") == 5, line
        else:
            assert re.fullmatch(r"\\(toprule|midrule|bottomrule|begin\{tabular\}\{lr+\}|end\{tabular\})|", bare), line
    assert r"a\_b \& 50\% &" in out
    assert r"c\#\{d\}\$ &" in out
    assert r"e\textbackslash{}f\textasciitilde{}\textasciicircum{}|g &" in out
    assert "95 \\% interval" in out


@pytest.mark.parametrize("form", ["text", "json", "csv", "markdown", "latex"])
def test_every_format_leaves_messages_out_of_the_output(form: str, audit: Cli, tmp_path: Path) -> None:
    code, out, err = audit("--format", form, "--out", tmp_path / "a", "--report", tmp_path / "r.html")
    assert code == 0
    told = out if form == "text" else err
    assert f"Saved in {tmp_path / 'a'}" in told
    assert f"Report: {(tmp_path / 'r.html').resolve()}" in told
    assert ("Saved in" in out) == (form == "text")
    assert (tmp_path / "r.html").is_file()


def test_an_unknown_format_is_refused(audit: Cli) -> None:
    code, _, err = audit("--format", "xml")
    assert code == 2
    assert "xml" in err


def test_thresholds_turn_into_exit_codes(audit: Cli, tmp_path: Path) -> None:
    audit("--out", tmp_path)
    table = cw.AuditResult.load(tmp_path).table()
    figures = {
        "clean": table.overall("clean").value,
        "mean-robust": table.mean.value,
        "worst-robust": table.worst.value,
        "worst-fifth-robust": table.worst_fifth.value,
    }
    assert 0.05 < figures["worst-robust"] < figures["mean-robust"] < figures["clean"]
    for name, value in figures.items():
        met, unmet = repr(value), repr(min(value + 0.01, 1.0))
        code, _, err = audit("--out", tmp_path, "--fail-under", f"{name}={met}")
        assert (code, err) == (0, ""), name
        if value == 1:
            continue
        code, out, err = audit("--out", tmp_path, "--fail-under", f"{name}={unmet}")
        assert code == 3
        assert "weakest" in out
        assert re.search(rf"^classwise audit: {name} is .*below the [\d.]+ % asked for$", err, re.MULTILINE)
        assert (f"(class {table.weakest})" in err) == (name == "worst-robust")
    two = ("--fail-under", "mean-robust=1", "--fail-under", "worst-robust=0", "--fail-under", "worst-fifth-robust=1")
    code, _, err = audit("--out", tmp_path, *two)
    assert code == 3
    assert [line.split()[2] for line in err.splitlines()] == ["mean-robust", "worst-fifth-robust"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worst-robst=0.3", r"unknown figure 'worst-robst': did you mean 'worst-robust'"),
        ("worst-robust=30", "write a fraction from 0 to 1, such as worst-robust=0.30"),
        ("worst-robust=half", "write a fraction from 0 to 1"),
        ("worst-robust=nan", "write a fraction from 0 to 1"),
        ("worst-robust", "write a fraction from 0 to 1"),
        ("=0.3", "unknown figure ''"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused_before_anything_runs(
    text: str, message: str, audit: Cli, tmp_path: Path
) -> None:
    code, out, err = audit("--out", tmp_path / "out", "--fail-under", text)
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert not (tmp_path / "out").exists()


def test_a_plan_attacks_nothing(audit: Cli, cli: Cli, tmp_path: Path) -> None:
    code, out, err = audit("--plan", "0.1", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert not (tmp_path / "out").exists()
    assert "awkward-names has 14 to 14 test images of a class; accuracies far from 50 % need fewer." in out
    needed = cw.metrics.sample_plan(3, 0.5, 0.1)
    assert str(needed) in out
    code, _, err = cli("audit", tmp_path / "w.safetensors", "--plan", "0.1")
    assert code == 2
    assert "--plan needs to know the classes: name the images, for example --data cifar10" in err


@pytest.mark.parametrize("width", ["0", "-0.1", "2"])
def test_a_plan_for_a_width_that_makes_no_sense_is_refused(width: str, audit: Cli) -> None:
    code, _, err = audit(f"--plan={width}")
    assert code == 2
    assert err.startswith("classwise audit: ")


def test_the_precision_is_chosen_and_told(audit: Cli) -> None:
    for precision, words in (("exact", "exact (fp32)"), ("mixed", "mixed (bf16 search, verdicts in fp32)")):
        code, out, _ = audit("--precision", precision)
        assert code == 0
        assert words in out
        code, out, _ = audit("--precision", precision, "--format", "json")
        assert json.loads(out)["plan"]["precision"] == precision
    code, _, err = audit("--precision", "half")
    assert code == 2
    assert "half" in err


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("apgd-c", r"unknown attack 'apgd-c'.*: did you mean 'apgd-ce'"),
        ("pgd", r"unknown attack 'pgd'"),
        ("pgd-0", "unknown attack 'pgd-0'"),
        ("fgsm-3", "unknown attack 'fgsm-3'"),
        ("standrad", r"unknown attack 'standrad'.*: did you mean 'standard'\?"),
        ("pgd-3+", "unknown attack ''"),
        ("pgd-3+squar", r"unknown attack 'squar'.*: did you mean 'square'\?"),
    ],
)
def test_unknown_attacks_are_named(attacks: str, message: str, audit: Cli, tmp_path: Path) -> None:
    code, out, err = audit("--attacks", attacks, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert not (tmp_path / "out").exists()


def test_a_suite_against_three_classes_says_what_stands_in(audit: Cli) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # tests turn warnings into errors
        code, out, err = audit("--attacks", "apgd-ce-4+apgd-t-3+fab-t-3+square-3")
    assert code == 0
    notes = err.splitlines()
    assert "Note: apgd-t-3: targeted-dlr needs 4 classes: with 3, targeted-cross-entropy stands in for it" in notes
    assert "Note: fab-t-3: 3 classes leave 2 targets instead of 9" in notes
    assert "weakest" in out


def test_parts_of_a_run_lie_in_its_audits(cli: Cli, tmp_path: Path) -> None:
    plugin = ["--plugin", str(Path(__file__).parents[1] / "cli" / "toy.py")]
    small = [
        "--use",
        "data=toy",
        "--use",
        "model=linear",
        "--split.at-least",
        "2",
        "--batch-size",
        "16",
        "--epochs",
        "1",
    ]
    few = ["--adversary.steps", "1", "--validation-attack.steps", "1"]
    assert cli("train", "digits-pgd-at", *plugin, *small, *few, "--out", tmp_path / "run")[0] == 0
    for number in (1, 2):
        assert cli("audit", tmp_path / "run", "--attacks", "pgd-2", "--shard", f"{number}/2")[0] == 0
    (folder,) = (tmp_path / "run" / "audits").iterdir()
    assert sorted(each.name for each in folder.iterdir()) == ["shard-1-of-2", "shard-2-of-2"]
    assert cli("merge", folder)[0] == 0
    code, out, _ = cli("audit", tmp_path / "run", "--attacks", "pgd-2")  # the whole is there already, and is read
    assert code == 0
    assert f"Saved in {folder}" in out
    assert len(list((tmp_path / "run" / "audits").iterdir())) == 1


def test_nothing_is_left_open_after_a_refusal(audit: Cli, tmp_path: Path) -> None:
    """A folder in which something else lies is not written to, but for the lock of who looked."""
    (tmp_path / "summary.json").write_text("{}")
    code, _, err = audit("--out", tmp_path)
    assert code == 2
    assert "run the audit again" in err
    assert {each.name for each in tmp_path.iterdir()} == {"summary.json", "run.lock"}
    assert (tmp_path / "summary.json").read_text() == "{}"


def test_weights_decide_and_not_their_file(audit: Cli, weights: Path, tmp_path: Path, cli: Cli) -> None:
    audit("--out", tmp_path / "out")
    other = tmp_path / "linear.safetensors"
    changed = safetensors.torch.load_file(weights)
    changed["1.bias"][0] += 0.5
    safetensors.torch.save_file(changed, other)
    given = ("--data", "awkward-names", "--network", "linear", "--batch-size", "16")
    code, _, err = cli(
        "audit", other, *given, "--attacks", "pgd-3+square-4", "--radius", "0.06", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "holds another audit" in err


def test_the_linear_network_is_what_the_tests_think(weights: Path) -> None:
    net: nn.Module = cw.models.Linear().build(3, (1, 4, 4))
    net.load_state_dict(safetensors.torch.load_file(weights))
    data = load("awkward-names").test
    assert (net(data.images).argmax(1) == data.labels).float().mean() > 0.8
