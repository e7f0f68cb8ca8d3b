"""Placing a network changes how its tensors lie in memory, and nothing it computes."""

import copy

import pytest
import torch
from torch import nn

from classwise.models import PreActResNet18
from classwise.training import Hardware, Runtime

CPU = Runtime(Hardware(device="cpu", precision="fp32"))


@pytest.mark.parametrize("pixels", [32, 8])
def test_a_placed_network_computes_what_it_did(pixels: int) -> None:
    torch.manual_seed(0)
    model = PreActResNet18().build(10, (3, pixels, pixels)).eval()
    x = torch.rand(2, 3, pixels, pixels)
    placed = CPU.place(copy.deepcopy(model))
    torch.testing.assert_close(placed(CPU.layout(x)), model(x), rtol=1e-4, atol=1e-5)
    assert placed.state_dict().keys() == model.state_dict().keys()


def test_deep_convolutions_leave_channels_last_on_narrow_maps_alone() -> None:
    convolution = CPU.place(nn.Conv2d(512, 512, 3, padding=1))
    for width, plain in ((4, True), (8, False)):
        x = CPU.layout(torch.rand(2, 512, width, width))
        assert convolution(x).is_contiguous() == plain
        assert convolution(x).is_contiguous(memory_format=torch.channels_last) != plain


def test_a_convolution_may_still_be_called_by_keyword() -> None:
    convolution = CPU.place(nn.Conv2d(512, 4, 3, padding=1))
    x = torch.rand(1, 512, 4, 4)
    torch.testing.assert_close(convolution(input=x), convolution(x))
