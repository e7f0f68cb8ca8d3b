"""PGD adversarial training as a textbook has it: the rival of the loop's step, and its check.

Nothing in here is slow on purpose. The attack calls ``loss.backward()``, which also computes gradients of all weights;
everything is in PyTorch's default layout; and the network keeps ReLU's input and output apart, as published ones do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.models.preact_resnet import PreActBlock


def textbook_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator,
    *,
    radius: float = 8 / 255,
    step_size: float = 2 / 255,
    steps: int = 10,
) -> None:
    """One training step against an l_inf attack from a random start.

    Source: Madry et al. 2018, section 2.1 and eq. 2.1, written from the description.

    Args:
        model: The network, on [0, 1] input.
        optimizer: Its optimiser.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        generator: Random numbers of the start.
        radius: Largest change of a pixel value.
        step_size: Length of an attack step.
        steps: Attack steps.
    """
    model.eval()
    noise = 2 * torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 1
    x_adv = (x + noise * radius).clamp(0, 1)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        F.cross_entropy(model(x_adv), y).backward()
        delta = x_adv.detach() + step_size * x_adv.grad.sign() - x
        x_adv = (x + delta.clamp(-radius, radius)).clamp(0, 1)
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(x_adv.detach()), y).backward()
    optimizer.step()


class TextbookBlock(PreActBlock):
    """The block with ReLU written into new memory, as in the public networks of the class-wise papers."""

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`PreActBlock`; the same numbers."""
        active = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(active)
        y = self.conv2(F.relu(self.norm2(self.conv1(active))))
        y += shortcut
        return y


def as_textbook(model: nn.Module) -> nn.Module:
    """Turn the blocks of a pre-activation network into those of the textbook, weights untouched."""
    for module in model.modules():
        if type(module) is PreActBlock:
            module.__class__ = TextbookBlock
    return model
