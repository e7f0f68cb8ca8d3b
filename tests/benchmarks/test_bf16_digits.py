"""Training in bf16 is no further from training in float32 than chance is."""

from typing import Any

import pytest

import bf16_digits


def assert_within_chance(figures: dict[str, Any]) -> None:
    """The rule, for one accuracy over all starts.

    Rounding sends a run down another path, much as a new seed does, so single pairs differ and some rule about their
    size has to be set. Two are: the mean difference (a loss that bf16 causes every time) must not exceed what lies
    between two float32 runs on average, and the mean size of the differences (however they point) not what lies between
    the two that are farthest apart. If bf16 were nothing but a new seed, 5 starts would break either by bad luck about
    once in a hundred times (resampled from 16 starts); a loss of two points in the average would break the first.
    """
    difference, chance = figures["bf16_minus_fp32"], figures["between_fp32_starts"]
    assert abs(difference["mean"]) <= chance["mean_size"]
    assert difference["mean_size"] <= chance["largest"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bf16_differs_from_float32_by_no_more_than_seeds_do() -> None:
    figures = bf16_digits.measure()
    assert len(figures["average"]["fp32"]) == len(figures["average"]["bf16"]) == 5
    assert min(figures["average"]["fp32"]) > 0.6  # runs that learned nothing would agree, too
    assert figures["average"]["fp32"] != figures["average"]["bf16"]
    assert_within_chance(figures["average"])
    assert_within_chance(figures["worst_class"])


def test_the_rule_refuses_a_loss_of_two_points() -> None:
    fp32 = [0.70, 0.71, 0.69, 0.70, 0.715]
    assert_within_chance(bf16_digits.differences(fp32, [0.71, 0.70, 0.70, 0.69, 0.715]))
    with pytest.raises(AssertionError):
        assert_within_chance(bf16_digits.differences(fp32, [each - 0.02 for each in fp32]))
    with pytest.raises(AssertionError):
        assert_within_chance(bf16_digits.differences(fp32, [0.74, 0.67, 0.74, 0.66, 0.70]))
