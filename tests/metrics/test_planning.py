"""Sample sizes against the public intervals, brute force and textbook approximations."""

import json

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import samplesize_confint_proportion

from classwise.metrics import sample_plan, samples_for_width, simultaneous, width_for_samples, wilson, worst_class
from classwise.metrics.planning import METHODS, _ceiling, _limits


def width_by_hand(n, accuracy, confidence, classes, method):
    """The wider of the intervals of the public functions at the two nearest whole counts."""
    widths = []
    for x in {int(np.floor(n * accuracy + 1e-9)), int(np.ceil(n * accuracy - 1e-9))}:
        if method == "wilson":
            low, high = wilson(x, n, confidence)
        elif method == "simultaneous":
            low, high = (side[0] for side in simultaneous([x] * classes, [n] * classes, confidence))
        else:
            estimate = worst_class([x] * classes, [n] * classes, confidence)
            low, high = estimate.low, estimate.high
        widths.append(float(high - low))
    return max(widths)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("accuracy", [0.0, 0.07, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 7, 100, 1000])
def test_width_is_that_of_the_public_intervals(method, accuracy, n):
    for classes in (1, 10):
        expected = width_by_hand(n, accuracy, 0.9, classes, method)
        assert width_for_samples(n, accuracy, 0.9, classes, method) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("accuracy", [0.0, 0.013, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("width", [0.5, 0.2, 0.06])
def test_answer_is_the_least_from_which_on_the_width_suffices(method, accuracy, width):
    n = samples_for_width(width, accuracy, 0.95, 10, method)
    widths = [width_for_samples(m, accuracy, 0.95, 10, method) for m in range(max(n - 1, 1), 2 * n + 50)]
    if n > 1:
        assert widths.pop(0) > width
    assert max(widths) <= width


@pytest.mark.parametrize("method", METHODS)
def test_bound_of_the_search_falls_with_n_and_lies_above_every_width(method):
    sizes = np.unique(np.geomspace(1, 5000, 200).astype(int))
    for accuracy in (0.0, 0.003, 0.2, 0.5, 0.999):
        for classes in (1, 200):
            limits = _limits(accuracy, 0.95, classes, method)
            bounds = np.array([_ceiling(limits, int(n), accuracy) for n in sizes])
            widths = np.array([width_for_samples(int(n), accuracy, 0.95, classes, method) for n in sizes])
            assert (np.diff(bounds) <= 1e-12).all()
            assert (widths <= bounds + 1e-12).all()


def test_large_samples_near_the_textbook():
    # Width 2 z sqrt(p (1 - p) / n); Wilson's n is smaller by z^2 at p = 1/2, exactly.
    z = norm.ppf(0.975)
    assert samples_for_width(0.01, 0.5, method="wilson") == int(np.ceil((z / 0.01) ** 2 - z**2 - 1e-9))
    z = norm.ppf(1 - (1 - 0.95 ** (1 / 43)) / 2)
    n = samples_for_width(0.01, 0.2, classes=43, method="simultaneous")
    assert n == pytest.approx(4 * z**2 * 0.16 / 0.01**2, rel=0.01)
    # statsmodels plans the normal interval by its half width.
    for p in (0.1, 0.3, 0.6):
        theirs = samplesize_confint_proportion(p, 0.005, alpha=0.05)
        assert samples_for_width(0.01, p, method="wilson") == pytest.approx(theirs, rel=0.01)


def test_more_is_needed_for_more():
    base = samples_for_width(0.1, 0.4, 0.95, 10, "worst")
    assert samples_for_width(0.05, 0.4, 0.95, 10, "worst") > 3 * base
    assert samples_for_width(0.1, 0.4, 0.99, 10, "worst") > base
    assert samples_for_width(0.1, 0.4, 0.95, 200, "worst") > base
    assert samples_for_width(0.1, 0.1, 0.95, 10, "worst") < base
    assert samples_for_width(0.1, 0.4, 0.95, 10, "simultaneous") > base > samples_for_width(0.1, 0.4, method="wilson")
    assert samples_for_width(0.1, 0.4, classes=200, method="wilson") == samples_for_width(0.1, 0.4, method="wilson")


def test_very_narrow_and_very_wide():
    assert samples_for_width(0.99, 0.5, method="wilson") == 1
    n = samples_for_width(1e-4, 0.5, 0.95, 200)
    assert width_for_samples(n, 0.5, 0.95, 200) <= 1e-4 < width_for_samples(n - 1, 0.5, 0.95, 200)


def test_plan_reads_well():
    plan = sample_plan(10, 0.5, 0.05)
    assert (plan.wilson, plan.simultaneous, plan.worst) == tuple(
        samples_for_width(0.05, 0.5, 0.95, 10, method) for method in METHODS
    )
    text = str(plan)
    assert text.splitlines()[0] == (
        "Samples needed for 95 % intervals at most 5 points wide, at an accuracy of 50 % in each class (10 classes):"
    )
    lines = [line.split() for line in text.splitlines()[2:]]
    assert [(line[-2], line[-1]) for line in lines] == [
        (f"{n:,}", f"{10 * n:,}") for n in (plan.wilson, plan.simultaneous, plan.worst)
    ]
    assert len({len(line) for line in text.splitlines()[1:]}) == 1
    assert json.loads(json.dumps(plan.to_dict()))["worst"] == plan.worst


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width"),
        ({"width": 5}, "width"),
        ({"width": 1e-6}, "width"),
        ({"accuracy": 50}, "accuracy"),
        ({"accuracy": float("nan")}, "accuracy"),
        ({"classes": 0}, "classes"),
        ({"confidence": 95}, "confidence"),
        ({"method": "wald"}, "wilson, simultaneous, worst"),
    ],
)
def test_refuses_impossible_input(changes, message):
    with pytest.raises(ValueError, match=message):
        samples_for_width(**({"width": 0.1, "accuracy": 0.5} | changes))


def test_width_refuses_no_samples():
    with pytest.raises(ValueError, match="at least one sample"):
        width_for_samples(0, 0.5)
