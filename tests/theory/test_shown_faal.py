"""FAAL's theorem as a table: against the definitions, the simulation and the ranges of its fields."""

import math

import numpy as np
import pytest

from classwise.theory import worst_case_weights
from classwise.theory.shown.faal import FAAL


def named(rows, part):
    found = [row for row in rows if part in row.quantity]
    assert len(found) == 1
    return found[0]


def test_the_default_is_the_case_of_the_reference():
    rows = FAAL().rows(samples=0, seed=0)
    assert len(rows) == 10
    assert all(row.simulated is None for row in rows)
    missed, outside = named(rows, "misses the true loss"), named(rows, "lie outside the ball")
    assert missed.corrected == pytest.approx(0.01006309294, rel=1e-9)
    assert outside.corrected == pytest.approx(0.05570416041, rel=1e-9)
    assert missed.printed == outside.printed == pytest.approx(0.04978706837, rel=1e-9)
    assert "more than exp" in outside.remark
    assert named(rows, "bound on both").corrected == 1
    assert named(rows, "loss under the true shares").corrected == pytest.approx(0.35)
    assert named(rows, "L_FAAL: ").corrected == pytest.approx(worst_case_weights([0, 0.5, 1.0], 0.15) @ [0, 0.5, 1])


def test_a_simulation_agrees_with_the_enumeration():
    for model in (FAAL(), FAAL(losses=(0.2, 1.0, 0.0, 0.4), shares=(0.4, 0.1, 0.5, 0.0), tau=0.1, n=15)):
        rows = model.rows(samples=200_000, seed=3)
        drawn = [row for row in rows if row.simulated is not None]
        assert len(drawn) == 2
        for row in drawn:
            assert row.simulated.n == 200_000
            deviation = math.sqrt(row.corrected * (1 - row.corrected) / 200_000)
            assert abs(row.simulated.value - row.corrected) <= 4 * deviation
            assert row.simulated.low < row.simulated.value < row.simulated.high


def test_draws_repeat_with_their_seed():
    model = FAAL()
    first, again, other = (named(model.rows(2000, seed), "misses").simulated for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_the_remarks_say_follows_the_numbers():
    covered = named(FAAL().rows(0, 0), "loss under the true shares")
    assert "at least that" in covered.remark
    beyond = FAAL(shares=(0.0, 0.1, 0.9), tau=0.05)
    assert "below that" in named(beyond.rows(0, 0), "loss under the true shares").remark
    assert named(beyond.rows(0, 0), "L_FAAL: ").corrected < 0.95
    flat = FAAL(losses=(0.4, 0.4, 0.4)).rows(0, 0)
    assert named(flat, "exceeds the plain mean").corrected == 0
    assert named(flat, "misses the true loss").corrected == 0
    rare = named(FAAL(tau=0.5, n=40).rows(0, 0), "lie outside the ball")
    assert rare.corrected < rare.printed
    assert "at most exp" in rare.remark


def test_assumptions_name_fields():
    fields = set(FAAL.__dataclass_fields__)
    assert set(FAAL.assumed) <= fields
    assert FAAL.paper.startswith("FAAL")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": (1.0,), "shares": (1.0,)}, "at least 2 classes"),
        ({"losses": (0.0, math.nan, 1.0)}, "finite losses"),
        ({"shares": (0.5, 0.5)}, "one share per loss"),
        ({"shares": (0.5, 0.6, -0.1)}, "at least 0 and sum to 1"),
        ({"shares": (0.5, 0.3, 0.3)}, "at least 0 and sum to 1"),
        ({"tau": 0.0}, "finite and above 0"),
        ({"tau": math.inf}, "finite and above 0"),
        ({"n": 0}, "at least 1"),
        ({"losses": (0.0,) * 20, "shares": (0.05,) * 20, "n": 40}, "too many to enumerate"),
    ],
)
def test_parameters_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        FAAL(**changes)


def test_largest_and_smallest_weights_are_reached():
    rows = FAAL().rows(0, 0)
    weights = worst_case_weights(np.stack([np.eye(3)[0], -np.eye(3)[0]]), 0.15)
    assert named(rows, "largest weight").corrected == pytest.approx(weights[0, 0])
    assert named(rows, "smallest weight").corrected == pytest.approx(weights[1, 0])
