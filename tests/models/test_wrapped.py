"""Layers around foreign networks: resizing and unpacking answers."""

import pytest
import torch
from torch import Tensor, nn

from classwise.models import Logits, Normalized, Resized
from classwise.models.wrapped import innermost


class Seen(nn.Module):
    """Keeps what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.flatten(1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(8, 8), (3, 5), (4, 4)])
def test_images_are_resized_whole(interpolation: str, size: tuple[int, int]):
    """A constant stays, and every pixel has a share in the result: none is cropped, nor skipped when images shrink."""
    resized = Resized(net := Seen(), size, interpolation)
    resized(torch.full((2, 3, 4, 4), 0.3))
    assert net.x.shape == (2, 3, *size)
    assert torch.allclose(net.x, torch.tensor(0.3))
    image = torch.rand(1, 1, 12, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(resized(image).sum(), image)
    assert (gradient > 0).all() if interpolation == "bilinear" else (gradient != 0).all()


def test_images_of_the_right_size_pass_untouched():
    x = torch.rand(2, 3, 5, 7)
    Resized(net := Seen(), (5, 7), "bicubic")(x)
    assert net.x is x


def test_resizing_and_normalising_commute():
    x, mean, std = torch.rand(2, 3, 6, 6), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    for interpolation in ("bilinear", "bicubic"):
        one = Normalized(Resized(nn.Flatten(), (9, 9), interpolation), mean, std)(x)
        other = Resized(Normalized(nn.Flatten(), mean, std), (9, 9), interpolation)(x)
        assert torch.allclose(one, other, atol=1e-5)


def test_doubling_by_hand():
    """Bilinear, pixel centres at half positions: an inner new pixel is 3/4 of the nearer and 1/4 of the other one."""
    Resized(net := Seen(), (1, 4))(torch.tensor([[[[0.0, 1.0]]]]))
    assert torch.allclose(net.x[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match=r"size \(0, 4\) .* at least 1"):
        Resized(nn.Flatten(), (0, 4))


def test_the_innermost_network_is_found():
    net = nn.Linear(2, 2)
    for wrapped in (net, Logits(net), Resized(Logits(net), (2, 2)), Normalized(Resized(net, (2, 2)), (0.5,), (1.0,))):
        assert innermost(wrapped) is net


def test_wrappers_take_the_mode_of_their_network():
    assert not Resized(nn.Linear(2, 2).eval(), (2, 2)).training
    assert not Logits(nn.Linear(2, 2).eval()).training
    assert Logits(nn.Linear(2, 2)).training
