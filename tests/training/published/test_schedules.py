"""Learning rates of published training scripts, epoch by epoch."""

from typing import Any

import pytest

from classwise.training import Steps

CASES = {
    "cfa_prn_200": (0.1, Steps(drops=(100, 150))),
    "cfa_wrn_100": (0.1, Steps(drops=(75, 90))),
    "trades_100": (0.1, Steps(drops=(74, 89, 99))),  # the script counts epochs from 1
    "mart_resnet_120": (0.01, Steps(drops=(74, 89, 99))),
    "mart_wrn_90": (0.1, Steps(drops=(74, 89))),
    "wat_100": (0.1, Steps(drops=(74, 89, 99))),
    "dafa_110": (0.1, Steps(drops=(99, 104))),
}


@pytest.mark.parametrize("name", CASES)
def test_steps(name: str, world: Any) -> None:
    rates = world.numbers("lr_schedules.json")[name]
    lr, schedule = CASES[name]
    ours = [lr * schedule.factor(epoch + share, len(rates)) for epoch in range(len(rates)) for share in (0.0, 0.99)]
    assert ours[::2] == pytest.approx(rates, rel=1e-12)
    assert ours[1::2] == pytest.approx(rates, rel=1e-12)  # no drop inside an epoch
    assert len(set(rates)) >= 3


def test_multiples_of_the_first_rate() -> None:
    """FAT and the variance regulariser end at 0.005 of the first rate, which no single factor gives."""
    schedule = Steps(drops=(2, 4, 6), to=(0.1, 0.01, 0.005))
    factors = [schedule.factor(epoch + share, 8) for epoch in range(8) for share in (0.0, 0.9)]
    assert factors[::2] == factors[1::2] == [1, 1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005]
    with pytest.raises(ValueError, match="2 multiples for 3 drops"):
        Steps(drops=(2, 4, 6), to=(0.1, 0.01))
