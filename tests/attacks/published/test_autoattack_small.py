"""The whole standard suite on the small published world, in both norms."""

from typing import Any

import numpy as np
import pytest

from classwise.attacks import attack_list
from classwise.data import ClassData
from classwise.evaluation.collect import Evaluator
from classwise.threat import l2, linf

World = Any
CASES = {"linf": "aa_standard_linf.npz", "l2": "aa_standard_l2.npz"}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_standard_suite_leaves_as_many_as_the_reference(norm: str, world: World) -> None:
    case = world.arrays(CASES[norm])
    threat = {"linf": linf, "l2": l2}[norm](float(case["eps"]))
    data = ClassData(world.x_eval.float(), world.y_eval, tuple("0123456789"))
    outcomes = Evaluator([threat], attack_list("standard"), batch_size=64).collect(world.net().float(), data)
    robust = outcomes.robust_correct(0)
    assert np.array_equal(outcomes.clean_correct, case["clean"].bool().numpy())
    # Random draws differ: 0.02 of 200 images.
    assert abs(float(robust.mean()) - float(case["robust_acc"])) <= 0.02
    per_class = np.array([robust[outcomes.label == c].mean() for c in range(10)])
    assert np.abs(per_class - case["class_robust_acc"].numpy()).max() <= 0.2
    # Stage by stage: what is left after each part.
    for number, stage in enumerate(("apgd_ce", "apgd_t", "fab_t", "square")):
        left = outcomes.clean_correct & ((outcomes.broken_by[0] > number) | (outcomes.broken_by[0] < 0))
        assert abs(int(left.sum()) - int(case[f"after_{stage}"].sum())) <= 4, stage
