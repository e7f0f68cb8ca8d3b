"""What a component must leave as it was: the network, its gradients, its modes, the tensors it was handed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from classwise.testing.demand import require


@contextmanager
def tensors_kept(what: str, tensors: Mapping[str, Tensor], mend: str = "") -> Iterator[None]:
    """Refuse that a block changes some tensors, bit for bit.

    Raises:
        BreachError: It did.
    """
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        same = torch.equal(before[name], tensor.detach())
        require(same, f"{what} changed {name}", mend or "work on copies: no in-place operations on what is handed in")


@contextmanager
def gradients_kept(what: str, net: nn.Module) -> Iterator[None]:
    """Refuse that a block touches the gradients of a network's parameters, or whether they require one.

    Raises:
        BreachError: It did.
    """
    named = list(net.named_parameters())
    half = len(named) // 2
    for i, (_, parameter) in enumerate(named):  # one half has gradients already, the other none
        parameter.grad = torch.full_like(parameter, 0.5) if i < half else None
    required = [parameter.requires_grad for _, parameter in named]
    yield
    for i, (name, parameter) in enumerate(named):
        grad = parameter.grad
        same = grad is None if i >= half else grad is not None and bool((grad == 0.5).all())
        require(
            same,
            f"{what} changed the gradient of the network's parameter {name}",
            "use torch.autograd.grad(…) with respect to what is wanted, never backward() or zero_grad()",
        )
        require(
            parameter.requires_grad == required[i],
            f"{what} changed whether the network's parameter {name} requires a gradient",
            "leave requires_grad of the parameters alone",
        )
        parameter.grad = None


@contextmanager
def modes_kept(what: str, net: nn.Module) -> Iterator[None]:
    """Refuse that a block leaves a submodule in another mode (train or eval) than it found it in; also after an error.

    Raises:
        BreachError: It did.
    """
    modules = list(net.named_modules())
    for i, (_, module) in enumerate(modules):
        module.training = i % 2 == 0  # as where somebody froze a layer on purpose
    try:
        yield
    finally:
        wrong = [
            name or "the network itself" for i, (name, module) in enumerate(modules) if module.training != (i % 2 == 0)
        ]
        net.eval()
    require(
        not wrong,
        f"{what} left {', '.join(wrong)} in another mode",
        "set modes by `with classwise.models.modes.mode(model, training=False):` only, which puts back each module's own",
    )


def parts(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a network by name."""
    return dict(net.state_dict(keep_vars=True))
