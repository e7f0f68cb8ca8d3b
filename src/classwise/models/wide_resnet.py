"""Wide residual networks for small images: WideResNet-28-10, -32-10, -34-10, -34-20."""

from __future__ import annotations

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.preact_resnet import PreActBlock, PreActNetwork
from classwise.models.stages import stage
from classwise.registry import register


@register("model", "wide-resnet", "wrn", "wide-resnet-34-10")
@config
class WideResNet(ModelBuilder):
    """Pre-activation residual network of three stages, few layers deep and many channels wide; no dropout.

    The depth counts convolutions: 6n+4 with those of the shortcuts that count as one each, or 6n+2 without them. Both
    ways of counting are in use for one architecture: the WideResNet-32-10 of FAT is the WideResNet-34-10 of TRADES.
    Convolutions start from He's normal distribution over their outputs, the head's bias from 0.

    Source: Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016; weights start as in TRADES (yaodongyu/TRADES
    9ee26f4), depth 32 counts as in FAT (zjfheart/Friendly-Adversarial-Training f8c0cd6).
    """

    depth: int = 34
    """Layers, 6n+4 (28, 34, …) or 6n+2 (32, …) with n blocks in a stage."""
    widen: int = 10
    """Channels of the first stage, in units of 16; every further stage has twice as many."""
    sub_block: bool = False
    """Whether a second copy of the first stage is kept that no image passes, as in checkpoints of TRADES' older code and
    of FRL. It is never trained."""

    def check(self) -> None:
        """Refuse depths of another form, and widths below 1."""
        if self.depth < 8 or self.depth % 6 not in (2, 4):
            raise ValueError(f"depth {self.depth} of a WideResNet must be 6n+4 or 6n+2: such as 28, 32, 34 or 70")
        if self.widen < 1:
            raise ValueError(f"widen {self.widen} of a WideResNet must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        blocks = (self.depth - 2) // 6
        widths = [16 * self.widen, 32 * self.widen, 64 * self.widen]
        network = PreActNetwork(16, widths, [blocks] * 3, classes, channels=shape[0])
        _initialise(network)
        if self.sub_block:  # last, so that the rest starts from the same weights with it and without
            unused = stage(PreActBlock, 16, widths[0], blocks, stride=1)
            _initialise(unused)
            # No gradient reaches it. Saying so keeps it out of optimizers and of waiting for gradients across processes.
            network.add_module("sub_block", unused.requires_grad_(False))
        return network


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
