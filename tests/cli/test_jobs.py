"""The jobs of the command line on toy images: what they write, print and read again."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from classwise.configuration import from_plain
from classwise.evaluation import AuditResult
from classwise.training import TrainConfig

Cli = Callable[..., tuple[int, str, str]]
TOY = Path(__file__).with_name("toy.py")
PLUGIN = ["--plugin", str(TOY)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    number = (run / "checkpoints" / "last").read_text().strip()
    return safetensors.torch.load_file(run / "checkpoints" / number / "model.safetensors")


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_training_leaves_a_whole_run(trained: Path) -> None:
    assert {each.name for each in trained.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "environment.json",
        "events.jsonl",
        "plugins",
        "run.lock",
        "splits.json",
        "status.json",
    }
    assert json.loads((trained / "status.json").read_text())["state"] == "finished"
    (kept,) = (trained / "plugins").iterdir()
    assert kept.read_bytes() == TOY.read_bytes()
    assert re.fullmatch(r"toy-[0-9a-f]{12}\.py", kept.name)


def test_a_finished_run_is_returned_as_it_is(cli: Cli, train: Cli, tmp_path: Path) -> None:
    assert train(tmp_path / "run")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != "run.lock"}
    code, out, _ = train(tmp_path / "run")
    assert code == 0
    assert "Selected: raw weights" in out
    assert f"Next: classwise audit {tmp_path / 'run'}" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_saved_configuration_reruns_the_run(cli: Cli, trained: Path, tmp_path: Path) -> None:
    code, _, err = cli("train", trained / "config.yaml", *PLUGIN, "--out", tmp_path / "again")
    assert (code, err) == (0, "")
    assert (tmp_path / "again" / "config.yaml").read_bytes() == (trained / "config.yaml").read_bytes()
    assert equal(trained, tmp_path / "again")


def test_another_seed_gives_other_weights(train: Cli, trained: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "other", "--seed", "1")[0] == 0
    assert not equal(trained, tmp_path / "other")


def test_a_dry_run_prints_the_configuration_and_an_estimate_and_writes_nothing(
    train: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = train(tmp_path / "run", "--dry-run", "--threat.radius", "8/255")
    assert code == 0
    text, _, estimate = out.strip().rpartition("\n")
    config = from_plain(TrainConfig, yaml.safe_load(text))
    assert str(config.threat.radius) == "8/255"
    assert config.batch_size == 16
    assert config.recipe == "digits-pgd-at"
    assert re.match(
        r"36 training and 6 validation images; 2 epochs of 3 steps, 6 in all; about \d+ ms a step", estimate
    )
    assert list(tmp_path.iterdir()) == []


def test_radii_are_kept_as_they_were_written(train: Cli, cli: Cli, tmp_path: Path) -> None:
    train(tmp_path / "run", "--threat.radius", "8/255", "--adversary.step-size", "2/255", "--epochs", "1")
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["threat"]["radius"] == "8/255"
    assert written["adversary"]["step_size"] == "2/255"
    code, out, _ = cli("audit", tmp_path / "run", "--radius", "8/255", "4/255", "--attacks", "pgd-2")
    assert code == 0
    assert "linf 8/255" in out
    assert "linf 4/255" in out
    (folder,) = (tmp_path / "run" / "audits").iterdir()
    assert folder.name.startswith("linf-8_255-")
    assert [str(threat.radius) for threat in AuditResult.load(folder).plan.threats] == ["8/255", "4/255"]


def test_components_are_chosen_and_combined(train: Cli, tmp_path: Path) -> None:
    use = ["--use", "model=linear", "--use", "policy=calibrated-radius+faal", "--use", "averaging=epoch-ema"]
    code, _, _ = train(tmp_path / "run", *use, "--policy.members.1.tau", "0.1", "--averaging.decay", "0.5")
    assert code == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["policy"]["name"] == "combined"
    assert [each["name"] for each in written["policy"]["members"]] == ["calibrated-radius", "kl-dro"]
    assert written["policy"]["members"][1]["tau"] == 0.1
    assert written["averaging"] == {"name": "epoch-ema", "decay": 0.5, "start": 0, "buffers": "average"}
    assert (tmp_path / "run" / "checkpoints" / "averaged").is_file()


def test_an_audit_of_a_run_is_kept_and_read_again(cli: Cli, finished: Path, tmp_path: Path) -> None:
    first = cli("audit", finished, *PLUGIN, "--attacks", "pgd-2", "--out", tmp_path / "mine")
    assert first[0] == 0
    assert "weakest" in first[1]
    assert f"Saved in {tmp_path / 'mine'}" in first[1]
    (folder,) = (finished / "audits").iterdir()
    before = (folder / "summary.json").stat().st_mtime_ns
    code, out, _ = cli("audit", finished, "--attacks", "pgd-2")
    assert code == 0
    assert f"Saved in {folder}" in out
    assert (folder / "summary.json").stat().st_mtime_ns == before
    assert AuditResult.load(tmp_path / "mine").worst == AuditResult.load(folder).worst


def test_a_checkpoint_and_a_file_of_weights_are_audited(cli: Cli, finished: Path, tmp_path: Path) -> None:
    words = ["--attacks", "pgd-2", "--radius", "0.05", "--out"]
    checkpoint = finished / "checkpoints" / "2"
    assert cli("audit", checkpoint, *words, tmp_path / "a")[0] == 0
    file = checkpoint / "model.safetensors"
    code, _, err = cli("audit", file, *words, tmp_path / "b")
    assert (code, "say which images" in err) == (2, True)
    code, _, err = cli("audit", file, "--data", "toy", *words, tmp_path / "b")
    assert (code, "does not say of which network" in err) == (2, True)
    assert "--network" in err
    assert cli("audit", file, "--data", "toy", "--network", "linear", *words, tmp_path / "b")[0] == 0
    one, other = AuditResult.load(tmp_path / "a"), AuditResult.load(tmp_path / "b")
    assert (one.outcomes.prediction == other.outcomes.prediction).all()


def test_a_repair_starts_from_the_run_and_is_compared(cli: Cli, finished: Path, tmp_path: Path) -> None:
    repair = ["--recipe", "digits-faal", "--epochs", "1", "--out", tmp_path / "repair"]
    code, out, _ = cli("finetune", finished, *PLUGIN, *repair)
    assert code in (0, 4)
    no_better = ("Nothing was repaired: the weights handed out are the start's.", "neither lifted nor made worse")
    assert (code == 4) == any(each in out for each in no_better)
    assert "Weakest class under attack, 6 validation images: " in out
    assert "Start model, on 6 validation images" in out
    assert f"classwise compare {finished} {tmp_path / 'repair'}" in out
    written = yaml.safe_load((tmp_path / "repair" / "config.yaml").read_text())
    assert written["start"] == str(finished)
    assert written["recipe"] == "digits-faal"
    assert written["data"]["name"] == "toy"
    assert written["policy"]["name"] == "kl-dro"
    code, out, _ = cli("compare", finished, tmp_path / "repair", *PLUGIN, "--report", tmp_path / "both.html")
    assert code == 0
    assert "Weakest class:" in out
    assert "<html" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_a_repair_that_makes_the_weakest_class_worse_is_no_success(cli: Cli, finished: Path, tmp_path: Path) -> None:
    """The rate makes it collapse; without the guard that is handed out, and called what it is."""
    words = ["finetune", finished, *PLUGIN, "--recipe", "digits-faal", "--epochs", "1", "--optimizer.lr", "30"]
    words += ["--use", "policy=fixed", "--policy.weight", "1", "0", "0"]
    code, guarded, _ = cli(*words, "--out", tmp_path / "guarded")
    assert "Selected: the weights of the start, none of those after 1 epochs." in guarded, guarded
    assert "Nearest came the raw weights after epoch 1, weakest class" in guarded
    assert "To try: a lower learning rate, --optimizer.lr 3; or --recipe logit-bias, which trains nothing." in guarded
    assert code == 4
    assert cli(*words, "--out", tmp_path / "guarded")[0] == 4  # also where it is finished already
    code, plain, _ = cli(*words, "--use", "selection=best-sum", "--out", tmp_path / "plain")
    assert code == 4
    assert "the repair made it worse, by" in plain
    help_text = " ".join(cli("finetune", "--help")[1].split())
    assert "Exit code 4 where nothing was repaired" in help_text.replace("│ ", "").replace(" │", "")


def test_audits_that_differ_are_not_compared(cli: Cli, finished: Path, tmp_path: Path) -> None:
    for name, radius in (("a", "0.05"), ("b", "0.1")):
        cli("audit", finished, "--attacks", "pgd-2", "--radius", radius, "--out", tmp_path / name)
    code, _, err = cli("compare", tmp_path / "a", tmp_path / "b")
    assert code == 2
    assert "these audits differ in the threat model" in err
    assert "audit both models the same way first" in err


def test_a_report_is_written(cli: Cli, finished: Path, tmp_path: Path) -> None:
    cli("audit", finished, "--attacks", "pgd-2")
    code, out, _ = cli("report", finished)
    assert code == 0
    report = finished / "report" / "report.html"
    assert f"Report: {report.resolve()}" in out
    assert "<html" in report.read_text(encoding="utf-8")


def test_quick_work_shows_no_progress(cli: Cli, finished: Path) -> None:
    code, _, err = cli("audit", finished, "--attacks", "pgd-1")
    assert (code, err) == (0, "")
