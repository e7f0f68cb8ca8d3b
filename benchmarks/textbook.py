"""PGD adversarial training as a textbook has it: the rival of the loop's step, and its check.

Nothing in here is slow on purpose. The attack calls ``loss.backward()``, which also computes gradients of all weights,
and everything is float32 in PyTorch's default layout.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
