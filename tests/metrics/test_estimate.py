"""The answer type: printing and its round trip through JSON."""

import json
import math

import pytest

from classwise.metrics import Estimate


def test_prints_per_cent():
    assert str(Estimate(0.26, 0.234, 0.289, "Wilson score", 1000)) == "26.0 % [23.4, 28.9]"


def test_prints_no_negative_zero():
    assert str(Estimate(-0.0001, -0.0212, 0.02, "m", 5)) == "0.0 % [-2.1, 2.0]"


def test_round_trip_through_json():
    estimate = Estimate(-0.1, -0.2, 0.05, "m", 7)
    assert Estimate.from_dict(json.loads(json.dumps(estimate.to_dict(), allow_nan=False))) == estimate


def test_round_trip_without_samples():
    text = json.dumps(Estimate(math.nan, 0.0, 1.0, "m", 0).to_dict(), allow_nan=False)
    back = Estimate.from_dict(json.loads(text))
    assert math.isnan(back.value)
    assert (back.low, back.high, back.n) == (0.0, 1.0, 0)


def test_refuses_unknown_and_missing_keys():
    data = Estimate(0.1, 0.0, 0.2, "m", 7).to_dict()
    with pytest.raises(ValueError, match="extra"):
        Estimate.from_dict({**data, "extra": 1})
    with pytest.raises(ValueError, match="remove"):
        Estimate.from_dict({key: data[key] for key in ("value", "low")})
