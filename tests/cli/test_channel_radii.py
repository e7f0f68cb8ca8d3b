"""Radii of channels and a ball without the box, on the command line: trained, audited, planned and checked."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from classwise import Run
from classwise.evaluation import AuditResult
from classwise.threat import ThreatModel, linf

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(train: Cli, tmp_path: Path) -> Path:
    """Toy images have one channel."""
    words = ["--threat.radius", "0.3", "--threat.channels", "0.2", "--threat.no-box"]
    code, _, err = train(tmp_path / "run", *words)
    assert code == 0, err
    return tmp_path / "run"


STANDARDISED = ThreatModel(radius="0.3", channels=(0.2,), box=False)


def threat_audited(cli: Cli, run: Path, out: Path, *words: str) -> ThreatModel:
    code, _, err = cli("audit", run, "--attacks", "pgd-2", "--out", out, *words)
    assert code == 0, err
    (threat,) = AuditResult.load(out).plan.threats
    return threat


def test_a_run_keeps_its_threat_model_and_audits_follow_it(cli: Cli, run: Path, tmp_path: Path) -> None:
    assert Run(run).config.threat == STANDARDISED
    assert threat_audited(cli, run, tmp_path / "own") == STANDARDISED
    told = cli("audit", run, "--attacks", "pgd-2")[1]
    assert str(STANDARDISED) in told
    larger = threat_audited(cli, run, tmp_path / "larger", "--radius", "0.4")
    assert larger == ThreatModel(radius="0.4", channels=STANDARDISED.channels, box=False)
    same = shlex.split("--norm linf --radius 0.4")  # naming the norm that it has anyway changes nothing
    assert threat_audited(cli, run, tmp_path / "same", *same) == larger
    words = shlex.split("--norm linf --radius 0.3 --channels 0.2 --no-box")
    assert threat_audited(cli, run, tmp_path / "said", *words) == STANDARDISED


def test_what_a_run_has_can_be_undone(cli: Cli, run: Path, tmp_path: Path) -> None:
    boxed = threat_audited(cli, run, tmp_path / "boxed", "--box")
    assert boxed == ThreatModel(radius="0.3", channels=(0.2,))
    even = threat_audited(cli, run, tmp_path / "even", "--channels", "1")
    assert even == ThreatModel(radius="0.3", box=False)
    words = shlex.split("--radius 8/255 --channels 1 --box")
    assert threat_audited(cli, run, tmp_path / "plain", *words) == linf("8/255")
    other = shlex.split("--norm l2 --radius 0.5")
    assert threat_audited(cli, run, tmp_path / "other", *other) == ThreatModel(norm="l2", radius="0.5")
    code, _, err = cli("audit", run, "--attacks", "pgd-2", "--box", "--no-box")
    assert (code, "contradict each other" in err) == (2, True)


def test_what_does_not_fit_is_a_mistake_of_the_user(cli: Cli, run: Path) -> None:
    code, _, err = cli("audit", run, "--attacks", "standard")
    assert code == 2
    assert "fab-t knows one radius for all channels" in err
    code, _, err = cli("audit", run, "--norm", "l2", "--radius", "0.5", "--no-box")
    assert code == 2
    assert "are for linf, not l2" in err
    code, _, err = cli("audit", run, "--channels", "0.2", "0.1", "--attacks", "pgd-2")
    assert code == 2
    assert "has 2 channels" in err


def test_check_follows_the_run(cli: Cli, run: Path) -> None:
    _, out, err = cli("check", run, "--radius", "0.2")
    assert not err
    assert "for radii of channels or without the box" in out
