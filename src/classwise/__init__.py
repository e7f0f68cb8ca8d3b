"""Audit, repair and train image classifiers for class-wise robustness.

Public names are imported when they are first used, so that ``import classwise`` and the command line's help cost
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "audit": "classwise.api",
    "certify": "classwise.api",
    "check": "classwise.api",
    "compare": "classwise.api",
    "compare_many": "classwise.api",
    "finetune": "classwise.api",
    "merge": "classwise.api",
    "train": "classwise.api",
    "Run": "classwise.run",
    "recipe": "classwise.recipes",
    "linf": "classwise.threat",
    "l1": "classwise.threat",
    "l2": "classwise.threat",
    "ThreatModel": "classwise.threat",
    "Radius": "classwise.radius",
    "config": "classwise.configuration",
    "register": "classwise.registry",
    "Normalized": "classwise.models.normalized",
    "ClassData": "classwise.data",
    "Dataset": "classwise.data",
    "TrainConfig": "classwise.training",
    "AuditResult": "classwise.evaluation",
    "Comparison": "classwise.evaluation",
    "Attack": "classwise.attacks",
    "Objective": "classwise.objectives",
    "ClassPolicy": "classwise.policies",
    "Averaging": "classwise.averaging",
    "Selection": "classwise.selection",
    "Repair": "classwise.repair",
    "Estimate": "classwise.metrics",
    "mean_one": "classwise.policies",
    "export": "classwise.exported",
    "ClasswiseMonitor": "classwise.trackers",
    "track": "classwise.trackers",
}
_PACKAGES = {
    "attacks",
    "averaging",
    "data",
    "mixing",
    "models",
    "objectives",
    "perturbation",
    "policies",
    "recipes",
    "repair",
    "selection",
    "trackers",
}

__all__ = [
    "Attack",
    "AuditResult",
    "Averaging",
    "ClassData",
    "ClassPolicy",
    "ClasswiseMonitor",
    "Comparison",
    "Dataset",
    "Estimate",
    "Normalized",
    "Objective",
    "Radius",
    "Repair",
    "Run",
    "Selection",
    "ThreatModel",
    "TrainConfig",
    "__version__",
    "attacks",
    "audit",
    "averaging",
    "certify",
    "check",
    "compare",
    "compare_many",
    "config",
    "data",
    "export",
    "finetune",
    "l1",
    "l2",
    "linf",
    "mean_one",
    "merge",
    "mixing",
    "models",
    "objectives",
    "perturbation",
    "policies",
    "recipe",
    "recipes",
    "register",
    "repair",
    "selection",
    "track",
    "trackers",
    "train",
]

if TYPE_CHECKING:
    from classwise import (
        attacks,
        averaging,
        data,
        mixing,
        models,
        objectives,
        perturbation,
        policies,
        recipes,
        repair,
        selection,
        trackers,
    )
    from classwise.api import audit, certify, check, compare, compare_many, finetune, merge, train
    from classwise.attacks import Attack
    from classwise.averaging import Averaging
    from classwise.configuration import config
    from classwise.data import ClassData, Dataset
    from classwise.evaluation import AuditResult, Comparison
    from classwise.exported import export
    from classwise.metrics import Estimate
    from classwise.models.normalized import Normalized
    from classwise.objectives import Objective
    from classwise.policies import ClassPolicy, mean_one
    from classwise.radius import Radius
    from classwise.recipes import recipe
    from classwise.registry import register
    from classwise.repair import Repair
    from classwise.run import Run
    from classwise.selection import Selection
    from classwise.threat import ThreatModel, l1, l2, linf
    from classwise.trackers import ClasswiseMonitor, track
    from classwise.training import TrainConfig


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"classwise.{name}")
    raise AttributeError(f"module 'classwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
