"""Mixtures of two sets of weights, BatchNorm's statistics among them."""

import pytest
import torch
from torch import nn

from classwise.repair.interpolation import blend


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    for _ in range(1 + seed):
        net(torch.rand(8, 1, 4, 4))
    return net.eval()


def test_each_end_is_the_network_itself_and_between_them_everything_is_mixed() -> None:
    with torch.random.fork_rng(devices=[]):
        first, last = network(1).state_dict(), network(4).state_dict()
    assert first["1.num_batches_tracked"] != last["1.num_batches_tracked"]
    for share, end in ((0.0, first), (1.0, last)):
        made = blend(first, last, share)
        assert made.keys() == last.keys()
        assert all(torch.equal(value, end[name]) for name, value in made.items())
    made = blend(first, last, 0.25)
    for name in ("0.weight", "3.bias", "1.weight", "1.running_mean", "1.running_var"):
        assert not torch.equal(first[name], last[name]) or name == "1.weight"
        wanted = (0.75 * first[name].double() + 0.25 * last[name].double()).float()
        assert made[name].flatten().tolist() == pytest.approx(wanted.flatten().tolist(), rel=1e-6)
        assert made[name].dtype == last[name].dtype
    assert torch.equal(made["1.num_batches_tracked"], last["1.num_batches_tracked"])
    assert bool((made["1.running_var"] > 0).all())
