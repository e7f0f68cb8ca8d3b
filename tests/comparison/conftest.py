"""Runs and audits of chosen outcomes on disk: no model, no training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classwise.attacks import attack_list
from classwise.configuration import replace, to_yaml
from classwise.evaluation import AuditPlan, AuditResult, Outcomes
from classwise.evaluation.result import Examples
from classwise.recipes import recipe
from classwise.threat import ThreatModel, linf

NAMES = ("cat", "dog", "car")
PER_CLASS = 40
MakeAudit = Callable[..., AuditResult]


def build_audit(
    model: str = "net",
    robust: tuple[float, ...] = (0.25, 0.5, 0.75),
    *,
    clean: float = 0.9,
    names: tuple[str, ...] = NAMES,
    threats: tuple[ThreatModel, ...] = (linf("8/255"),),
    attacks: str = "pgd-20",
    data: str = "0",
    seed: int = 0,
    fingerprint: str = "",
    **fields: Any,
) -> AuditResult:
    """Every class has exactly rate * 40 robust samples, chosen at random by the seed, at every threat model."""
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(names)), PER_CLASS)
    wrong = (label + 1) % len(names)
    right, kept = np.zeros(len(label), bool), np.zeros(len(label), bool)
    for c, rate in enumerate(robust):
        order = c * PER_CLASS + generator.permutation(PER_CLASS)
        right[order[: round(max(clean, rate) * PER_CLASS)]] = True
        kept[order[: round(rate * PER_CLASS)]] = True
    plan = AuditPlan(
        model=model,
        data="toy",
        split="test",
        data_sha256=data * 64,
        samples=len(label),
        class_names=names,
        threats=threats,
        attacks=attack_list(attacks),
        batch_size=256,
        **{"seed": 0, **fields},
    )
    outcomes = Outcomes(
        index=np.arange(len(label)),
        label=label,
        group=label,
        clean_prediction=np.where(right, label, wrong),
        clean_margin=np.where(right, 1, -1).astype(np.float32),
        prediction=np.tile(np.where(kept, label, wrong), (len(threats), 1)),
        margin=np.tile(np.where(kept, 1, -1).astype(np.float32), (len(threats), 1)),
        broken_by=np.tile(np.where(right & ~kept, 0, -1), (len(threats), 1)),
    )
    pictures = np.zeros((1, 1, 4, 4), np.float32)
    examples = Examples(pictures, pictures, label[:1], wrong[:1])
    return AuditResult(plan, outcomes, examples, {}, fingerprint=fingerprint)


@pytest.fixture
def make_audit(tmp_path: Path) -> Callable[..., Path]:
    """Saves an audit into a folder of its own; returns the folder."""

    def make(name: str, *robust: float, **options: Any) -> Path:
        return (
            build_audit(name, *([robust] if robust else []), **{"fingerprint": name, **options})
            .save(tmp_path / "audits" / name)
            .folder
        )  # type: ignore[return-value]

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Saves a run with one audit; returns its directory. Changes are of the configuration."""

    def make(
        name: str,
        *robust: float,
        changes: dict[str, Any] | None = None,
        attacks: tuple[str, ...] = ("pgd-20",),
        **options: Any,
    ) -> Path:
        run = tmp_path / "runs" / name
        (run / "audits").mkdir(parents=True)
        config = replace(recipe("digits-pgd-at"), **{"seed": 0, **(changes or {})})
        (run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        for i, each in enumerate(attacks):
            words = f"{name} (raw weights, after epoch 1)"
            kinds = {"attacks": each, "seed": config.seed, "fingerprint": name, **options}
            build_audit(words, *([robust] if robust else []), **kinds).save(run / "audits" / f"a{i}")
        return run

    return make
