"""All experiments by name."""

from __future__ import annotations

from functools import cache

from classwise.experiments import cfa, faal, frl_icml, frl_v1, mixup
from classwise.experiments.base import Experiment
from classwise.registry import did_you_mean


@cache
def _all() -> dict[str, Experiment]:
    found: dict[str, Experiment] = {}
    for made in (
        *frl_v1.experiments(),
        *frl_icml.experiments(),
        *mixup.experiments(),
        *cfa.experiments(),
        *faal.experiments(),
    ):
        assert made.name not in found, f"two experiments are called {made.name}"
        found[made.name] = made
    return found


def names() -> tuple[str, ...]:
    """Names of all experiments, in the order of papers and tables."""
    return tuple(_all())


def experiment(name: str) -> Experiment:
    """The experiment of a name, such as "faal-table2".

    Raises:
        ValueError: There is none.
    """
    if name not in _all():
        raise ValueError(
            f"unknown experiment {name!r}{did_you_mean(name, list(names()))}; `classwise recipes list --source` lists them"
        )
    return _all()[name]
