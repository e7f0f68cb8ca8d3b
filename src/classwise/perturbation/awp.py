"""Adversarial weight perturbation: the step is taken from weights at which the loss is higher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from classwise.configuration import config
from classwise.perturbation.base import Gradient, Perturbation
from classwise.registry import register


@register("perturbation", "adversarial-weights", "awp")
@config
class AdversarialWeights(Perturbation):
    """Moves every weight tensor up its gradient by ``gamma`` times its own norm, steps there, and moves it back.

    With g the gradient of the batch's unweighted loss on the perturbed images, theta <- theta + gamma g |theta| / |g|, norms
    taken tensor by tensor; then come forward, backward and optimiser step (its weight decay and momentum too see the moved
    weights), and what was added is taken away again. Only parameters with at least two axes and "weight" in their name move:
    biases and the parameters of normalisation layers stay. A tensor whose gradient is zero stays as well.

    Source: Wu, Xia and Wang 2020 (AWP), section 4; code csdongxian/AWP a7acf5d; with class weights Zhang et al. 2024 (FAAL),
    code TrustAI/FAAL b20ee9d, where the direction ignores them as it does here. The papers use gamma 0.01 with adversarial
    training (FAAL 0.005) and 0.005 with TRADES, there from the tenth epoch on (begin 9).
    Departures: the direction is the gradient itself instead of the difference to a copy of the network that took one step,
    which is the same direction; weights that the step leaves alone come back bit for bit.
    Costs: one more forward and backward per step, and memory for two copies of the moved weights (where they were and where
    they were moved to), besides their gradients while the direction is found.
    """

    gamma: float = 0.01
    """Length of the move of a tensor as a share of its norm, at least 0; 0 is the method without."""
    begin: int = 0
    """First epoch (counted from 0) in which weights move."""

    def check(self) -> None:
        """Refuse a move of negative or no finite length, and a negative epoch."""
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma {self.gamma} must be at least 0: 0.005 to 0.01 is usual")
        if self.begin < 0:
            raise ValueError(f"begin {self.begin} must be at least 0")

    def __call__(self, model: nn.Module, gradient: Gradient, epoch: int) -> AbstractContextManager[None]:
        """See :class:`Perturbation`.

        Raises:
            ValueError: The model has no parameter that would move.
        """
        return nullcontext() if self.gamma == 0 or epoch < self.begin else self._moved(model, gradient)

    @contextmanager
    def _moved(self, model: nn.Module, gradient: Gradient) -> Iterator[None]:
        weights = _movable(model)
        there = self._further(weights, gradient(weights))
        with torch.no_grad():
            before = tuple(weight.clone() for weight in weights)
            torch._foreach_copy_(weights, there)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_sub_(weights, there)  # what the step added: exactly 0 where it added nothing
                torch._foreach_add_(weights, before)

    @torch.no_grad()
    def _further(self, weights: tuple[nn.Parameter, ...], gradients: list[Tensor]) -> tuple[Tensor, ...]:
        """Where the weights are moved to."""
        norms = torch._foreach_norm(gradients)
        torch._foreach_add_(norms, 1e-20)  # a gradient of zero moves nothing
        lengths = torch._foreach_mul(torch._foreach_norm(weights), self.gamma)
        moves = torch._foreach_mul(gradients, torch._foreach_div(lengths, norms))
        torch._foreach_add_(moves, weights)
        return tuple(moves)


def _movable(model: nn.Module) -> tuple[nn.Parameter, ...]:
    """Parameters that are trained, have at least two axes and "weight" in their name."""
    named = model.named_parameters()
    found = tuple(each for name, each in named if each.requires_grad and each.dim() >= 2 and "weight" in name)
    if not found:
        raise ValueError(
            'the model has no trained parameter with two axes and "weight" in its name, so adversarial-weights would move '
            "nothing: name its weights so, or use perturbation none"
        )
    return found
