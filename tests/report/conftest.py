"""Audits and runs made of random numbers: no model, no training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classwise.attacks import attack_list
from classwise.configuration import to_yaml
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import AuditResult, Examples
from classwise.runs import RunDirectory
from classwise.runs.atomic import write_json
from classwise.threat import ThreatModel, linf
from classwise.training.config import TrainConfig

DIGITS = tuple("0123456789")
MakeAudit = Callable[..., AuditResult]
MakeRun = Callable[..., RunDirectory]


def build_audit(
    model: str = "before",
    names: tuple[str, ...] = DIGITS,
    *,
    per_class: int = 40,
    robust: tuple[float, ...] = (),
    threats: tuple[ThreatModel, ...] = (linf("8/255"),),
    seed: int = 0,
    channels: int = 1,
    pictures: int = 3,
    side: int = 8,
) -> AuditResult:
    """Every class has exactly round(rate * per_class) robust samples at the first threat; half of the rest are clean.

    The robust samples are a random choice; at every further threat half of them are left.
    """
    generator = np.random.default_rng(seed)
    classes, n = len(names), len(names) * per_class
    rates = robust or tuple(np.linspace(0.2, 0.8, classes))
    label = np.repeat(np.arange(classes), per_class)
    wrong = (label + 1) % classes
    clean, kept = np.zeros(n, bool), np.zeros((len(threats), n), bool)
    for c, rate in enumerate(rates):
        order = c * per_class + generator.permutation(per_class)
        strong = round(rate * per_class)
        clean[order[: strong + (per_class - strong) // 2]] = True
        for r in range(len(threats)):
            kept[r, order[: strong // 2**r]] = True
    outcomes = Outcomes(
        index=np.arange(n),
        label=label,
        group=label,
        clean_prediction=np.where(clean, label, wrong),
        clean_margin=np.where(clean, 1, -1).astype(np.float32),
        prediction=np.where(kept, label, wrong),
        margin=np.where(kept, 1, -1).astype(np.float32),
        broken_by=np.where(clean & ~kept, 0, -1),
    )
    originals = generator.random((pictures, channels, side, side), dtype=np.float32)
    noise = generator.choice([-8 / 255, 8 / 255], originals.shape).astype(np.float32)
    weakest = int(np.argmin(rates))
    plan = AuditPlan(
        model=model,
        data="digits",
        split="test",
        data_sha256="0" * 64,
        samples=n,
        class_names=names,
        threats=threats,
        attacks=attack_list("pgd-20"),
        seed=0,
        batch_size=256,
    )
    examples = Examples(
        originals,
        (originals + noise).clip(0, 1),
        np.full(pictures, weakest),
        np.full(pictures, (weakest + 1) % classes),
    )
    return AuditResult(plan, outcomes, examples, {"torch": "2.6.0", "gpu": None, "command": ["classwise", "audit me"]})


def build_events(
    epochs: int = 4, classes: int = 10, *, moved: tuple[str, ...] = (), averaged: bool = False, seed: int = 0
) -> list[dict[str, Any]]:
    """The "epoch" events of a run, as the loop writes them."""
    generator = np.random.default_rng(seed)
    events = []
    for epoch in range(epochs):
        knobs = {name: [1.0] * classes for name in ("radius", "step", "weight", "label", "robust")}
        for name in moved:
            knobs[name] = [1.0] * classes if epoch == 0 else generator.uniform(0.5, 1.5, classes).tolist()
        tables = {}
        for weights in ("raw", "averaged") if averaged else ("raw",):
            robust = np.linspace(0.2, 0.6, classes) + 0.3 * epoch / epochs + generator.uniform(-0.05, 0.05, classes)
            tables[weights] = {"n": [20] * classes, "clean": (robust + 0.1).tolist(), "robust": robust.tolist()}
        events.append(
            {
                "event": "epoch",
                "epoch": epoch,
                "train": {"loss": 2.0 / (epoch + 1), "terms": {}, "count": [100] * classes},
                "knobs": knobs,
                "validation": tables,
                "scores": {
                    name: [0.1, 0.9, 0.9, 0.2][epoch % 4] for name in (("best", "averaged") if averaged else ("best",))
                },
            }
        )
    return events


@pytest.fixture
def make_audit() -> MakeAudit:
    return build_audit


@pytest.fixture
def make_events() -> Callable[..., list[dict[str, Any]]]:
    return build_events


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(name: str = "run", **options: Any) -> RunDirectory:
        run = RunDirectory(tmp_path / name)
        run.path.mkdir()
        (run.path / "config.yaml").write_text(to_yaml(TrainConfig()), encoding="utf-8")
        write_json(run.path / "environment.json", {"torch": "2.6.0", "gpu": None})
        for event in build_events(**options):
            run.events.append(**event)
        run.set_status("finished", epochs=options.get("epochs", 4))
        return run

    return make
