"""Every triple of components that the rules admit is trained for two steps, and each part must leave a trace."""

import itertools
import math
from typing import Any

import pytest

AXES = ("objective", "policy", "perturbation", "averaging", "mixing", "attack", "selection")
TRIPLES_OF_AXES = list(itertools.combinations(AXES, 3))

AT_LEAST = 1723
"""Triples that are admitted, and so run, when this was written."""

pytestmark = pytest.mark.slow


def test_how_many_triples_there_are(lab: Any) -> None:
    every = [parts for axes in TRIPLES_OF_AXES for parts in lab.combinations(axes)]
    assert len(every) == sum(math.prod(len(lab.names(axis)) for axis in axes) for axes in TRIPLES_OF_AXES)
    assert sum(bool(lab.completed(parts)[0]) for parts in every) >= AT_LEAST


@pytest.mark.parametrize("axes", TRIPLES_OF_AXES, ids="-".join)
def test_every_part_of_a_triple_leaves_a_trace(axes: tuple[str, ...], lab: Any) -> None:
    ran, refused, unexpected = 0, 0, []
    for parts in lab.combinations(axes):
        whole, _ = lab.completed(parts)
        if not whole:
            refused += 1
            continue
        ran += lab.steps(whole) == 2
        for axis in set(lab.idle(whole)) & set(axes):
            if not lab.excused(axis, whole):
                unexpected.append(f"{axis} {parts[axis]} changes nothing in {whole}")
    assert not unexpected
    assert ran == math.prod(len(lab.names(axis)) for axis in axes) - refused
