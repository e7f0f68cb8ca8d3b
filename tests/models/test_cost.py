"""Multiplications of a network, counted by hand."""

import torch
from torch import Tensor, nn

from classwise.models.cost import multiplications


def test_a_convolution_and_a_linear_layer_by_hand() -> None:
    """Of one image, whatever the number of images that is given; biases and ReLU multiply nothing."""
    net = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(80, 10)).eval()
    conv = 4 * 4 * 5 * 3 * 3 * 3  # output pixels, output channels, input channels, kernel
    for images in (1, 6):
        assert multiplications(net, torch.rand(images, 3, 8, 8)) == conv + 80 * 10


def test_the_mode_of_the_network_is_kept() -> None:
    """It is counted in eval mode, in which BatchNorm learns nothing."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    assert multiplications(net, torch.rand(4, 1, 3, 3)) == 9 * 2
    assert net.training
    assert int(net[1].num_batches_tracked) == 0


def test_what_has_no_products_or_cannot_be_run_costs_nothing() -> None:
    def elsewhere(x: Tensor) -> Tensor:
        return torch.tensor(x.flatten(1).numpy()[:, :3].copy())

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("made for other images")

    x = torch.rand(2, 1, 4, 4)
    assert multiplications(elsewhere, x) == 0
    assert multiplications(broken, x) == 0
    assert multiplications(lambda images: images.flatten(1) @ torch.rand(16, 3), x) == 16 * 3
