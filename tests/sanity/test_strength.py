"""Comparisons of attacks, on made-up outcomes whose answer is known."""

from typing import Any

import numpy as np
import pytest

from classwise.attacks import attack_list
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.sanity.sign_test import chance
from classwise.evaluation.sanity.strength import (
    black_box,
    black_box_in_suite,
    larger_radius,
    more_steps,
    radii_in_audit,
)
from classwise.evaluation.sanity.trials import larger, to_grey
from classwise.threat import ThreatModel, l1, l2, linf


def withstood(*runs: tuple[int, bool]) -> Any:
    return np.concatenate([np.full(count, value) for count, value in runs])


@pytest.mark.parametrize(("more", "fewer"), [(0, 0), (1, 0), (5, 0), (7, 0), (9, 2), (3, 8), (40, 30)])
def test_the_sign_test_is_the_binomial_one(more: int, fewer: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(more, more + fewer, 0.5, alternative="greater").pvalue if more + fewer else 1.0
    assert chance(more, fewer) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("only_few", "only_many", "verdict"),
    [(0, 0, "pass"), (4, 0, "pass"), (5, 0, "warn"), (7, 0, "fail"), (9, 9, "pass")],
)
def test_more_steps(only_few: int, only_many: int, verdict: str) -> None:
    few = withstood((only_few, False), (only_many, True), (50, True), (30, False))
    many = withstood((only_few, True), (only_many, False), (50, True), (30, False))
    found = more_steps(few, many, ("short", "long"))
    assert found.verdict == verdict
    assert f"{50 + only_many} of {len(few)} images withstand short and {50 + only_few} withstand long" in found.sentence


@pytest.mark.parametrize(
    ("alone", "behind", "verdict"),
    [(0, 0, "pass"), (2, 0, "pass"), (3, 20, "warn"), (5, 20, "warn"), (6, 20, "fail"), (0, 40, "pass")],
)
def test_black_box(alone: int, behind: int, verdict: str) -> None:
    rest = 100 - alone - behind
    white = withstood((alone, True), (behind, False), (rest, True))
    black = withstood((alone, False), (behind, True), (rest, True))
    assert black_box(white, black, ("gradients", "square")).verdict == verdict


def test_black_box_on_many_images_counts_shares_and_certainty() -> None:
    size = 10_000
    for alone, behind, verdict in ((90, 5_000, "pass"), (110, 5_000, "warn"), (501, 5_000, "fail"), (90, 50, "fail")):
        white = withstood((alone, True), (behind, False), (size - alone - behind, True))
        black = withstood((alone, False), (behind, True), (size - alone - behind, True))
        assert black_box(white, black, ("gradients", "square")).verdict == verdict, alone


THREATS = [linf("0.1"), linf("0.2"), linf("0.5")]


def test_larger_radii_that_break_more_pass() -> None:
    runs = [withstood((n, True), (100 - n, False)) for n in (60, 20, 0)]
    assert larger_radius(runs, THREATS, np.arange(100) % 10).verdict == "pass"
    assert larger_radius(runs[:2], THREATS[:2]).verdict == "pass"


@pytest.mark.parametrize(("more", "verdict"), [(4, "pass"), (6, "warn"), (10, "fail")])
def test_a_larger_radius_that_leaves_more_is_impossible(more: int, verdict: str) -> None:
    small, large = withstood((20, True), (80, False)), withstood((20 + more, True), (80 - more, False))
    found = larger_radius([small, large], THREATS[:2])
    assert found.verdict == verdict
    assert ("at 0.2 more withstand than at 0.1" in found.sentence) == (verdict != "pass")


@pytest.mark.parametrize(("missed", "verdict"), [(0, "pass"), (2, "pass"), (3, "warn"), (5, "warn"), (6, "fail")])
def test_where_all_may_become_grey_only_one_label_can_withstand(missed: int, verdict: str) -> None:
    """Ten images of one label withstand, as for a model that answers that label to everything; others are missed."""
    label = np.array([0] * 10 + [1 + i % 4 for i in range(90)])
    last = withstood((10, True), (missed, True), (90 - missed, False))
    if missed > 4:
        last[10 : 10 + missed] = True
    first = np.ones(100, dtype=bool)
    found = larger_radius([first, last], [THREATS[0], THREATS[2]], label)
    assert found.verdict == verdict
    assert larger_radius([first, last], [THREATS[0], THREATS[2]]).verdict == "pass"


def outcomes(broken_by: Any, classes: int = 2) -> Outcomes:
    """Right without attack; under attack wrong where something broke the image."""
    broken_by = np.atleast_2d(np.array(broken_by))
    size = broken_by.shape[1]
    label = np.arange(size) % classes
    prediction = np.where(broken_by >= 0, (label + 1) % classes, label)
    ones = np.ones(size, dtype=np.float32)
    return Outcomes(
        index=np.arange(size),
        label=label,
        group=label,
        clean_prediction=label,
        clean_margin=ones,
        prediction=prediction,
        margin=np.where(broken_by >= 0, -ones, ones),
        broken_by=broken_by,
    )


@pytest.mark.parametrize(("alone", "verdict"), [(0, "pass"), (2, "pass"), (3, "warn"), (11, "fail")])
def test_what_square_broke_at_the_end_of_a_suite(alone: int, verdict: str) -> None:
    by = [1] * alone + [0] * 50 + [-1] * (150 - alone)
    found = black_box_in_suite(outcomes(by), attack_list("pgd-10+square-100"))
    assert found is not None
    assert found.verdict == verdict
    assert f"broke {alone} of 200" in found.sentence
    # Before any attack with gradients it meets every image, and alone it says nothing either.
    assert black_box_in_suite(outcomes(by), attack_list("square-100+pgd-10")) is None
    assert black_box_in_suite(outcomes(by), attack_list("pgd-10")) is None


def test_the_radii_of_an_audit_are_compared_in_their_order_and_norm() -> None:
    by_radius = [[-1] * 20 + [0] * 80, [0] * 100, [-1] * 40 + [0] * 60]
    found = radii_in_audit(outcomes(by_radius), [linf("0.2"), l2("1"), linf("0.1")])
    assert found is not None
    assert (found.verdict, "40, 20 withstand linf 0.1, 0.2" in found.sentence) == ("pass", True)
    found = radii_in_audit(outcomes(by_radius), [linf("0.1"), l2("1"), linf("0.2")])
    assert found is not None
    assert found.verdict == "fail"
    assert radii_in_audit(outcomes(by_radius), [linf("0.2"), l2("1"), l1("1")]) is None
    found = radii_in_audit(outcomes(by_radius[:2]), [ThreatModel(radius=r, channels=(0.2,), box=False) for r in (2, 1)])
    assert found is not None
    assert "0, 20 withstand linf 1, 2 x (0.2), no box" in found.sentence


def test_radii_that_are_tried() -> None:
    assert [float(each.radius) for each in larger(linf("0.1"), 64)] == [0.1, 0.2, 0.4, 0.5]
    assert [float(each.radius) for each in larger(l2("1.5"), 64)] == [1.5, 3.0, 4.0]
    assert [float(each.radius) for each in larger(linf("0.6"), 64)] == [0.6]
    assert str(next(larger(linf("8/255"), 64))) == "linf 8/255"


def test_grey_is_within_reach_of_every_image_at_that_radius() -> None:
    import torch

    corner = torch.tensor([0.0, 1.0]).repeat(1, 32).view(1, 1, 8, 8)
    for threat in (linf, l2, l1):
        norm = threat(1.0).norm
        distance = threat(1.0).distance(torch.full_like(corner, 0.5), corner)
        assert float(distance) == pytest.approx(to_grey(norm, 64), rel=1e-12)
