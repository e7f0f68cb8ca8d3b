"""Kernels that take a sum and a ReLU along: the same function, and only where no gradient is asked for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.models import PreActResNet18, ResNetCIFAR
from classwise.models.fast_copy import fast_copy
from classwise.models.folding import folded
from classwise.models.fused import WithFusedForward, fused


class Block(nn.Module):
    """Sums in both orders, a sum of something with itself, and one whose parts differ in shape."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        x = F.relu(self.b(x) + x)
        x = (x + self.c(x)).relu()
        twice = self.d(x)
        x = torch.relu(twice + twice)
        return torch.relu(self.e(x) + x.mean((2, 3), keepdim=True)).mean((2, 3))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 4, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.3


def kernels(network: nn.Module) -> int:
    return sum("_convolution_pointwise" in str(node.target) for node in network.graph.nodes)


def test_only_what_can_be_fused_is(images: Tensor) -> None:
    torch.manual_seed(0)
    traced = torch.fx.symbolic_trace(Block().requires_grad_(False))
    from classwise.models.folding import _relu_in_place

    _relu_in_place(traced, dict(traced.named_modules()))
    traced.recompile()
    with torch.no_grad():
        before = traced(images)
        quick = fused(traced, images)
        assert quick is not None
        assert kernels(quick) == 4  # all but the sum of two shapes
        assert torch.allclose(quick(images), before, atol=1e-6)
        assert torch.equal(traced(images), before)


def test_nothing_to_fuse_gives_nothing(images: Tensor) -> None:
    assert fused(torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Tanh())), images) is None
    assert fused(nn.Conv2d(4, 4, 3), images) is None


@pytest.mark.parametrize("builder", [ResNetCIFAR(depth=20), PreActResNet18()], ids=["resnet", "preact"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_networks_compute_the_same_with_and_without_gradients(
    builder: ResNetCIFAR | PreActResNet18, bf16: bool
) -> None:
    torch.manual_seed(0)
    net = builder.build(10, (3, 32, 32)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    x = torch.rand(6, 3, 32, 32)
    copy, words = fast_copy(net, x, bf16)
    assert words == ("a bf16 copy with BatchNorm folded" if bf16 else "a copy with BatchNorm folded")
    inner = copy.network if bf16 else copy
    assert isinstance(inner, WithFusedForward)
    assert kernels(inner.fused) > 5
    with torch.no_grad():
        itself, quick = net(x), copy(x)
    with_graph = copy(x.clone().requires_grad_())
    assert with_graph.requires_grad
    scale = float(itself.abs().max())
    assert float((quick - itself).abs().max()) <= (0.05 if bf16 else 1e-4) * scale
    assert float((with_graph - itself).detach().abs().max()) <= (0.05 if bf16 else 1e-4) * scale


def test_relu_in_place_leaves_gradients_right() -> None:
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double().eval()
    )
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(folded(net), (x.requires_grad_(),))
