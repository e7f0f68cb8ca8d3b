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
