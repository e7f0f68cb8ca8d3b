"""A short look at a model: what it answers on a few dozen images, twice, and what its first layer receives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from classwise.attacks.base import Classifier
from classwise.attacks.losses import widen
from classwise.data.dataset import ClassData, rows_by_group
from classwise.models.modes import mode

FIRST_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Probe:
    """A model and a few images of every class, all on its device.

    Args:
        model: The classifier.
        x: (N, C, H, W) images in [0, 1].
        y: (N,) labels.
        index: (N,) their numbers, which key random draws.
        at_once: Images of a forward pass.
    """

    model: Classifier
    x: Tensor
    y: Tensor
    index: Tensor
    at_once: int

    def logits(self, x: Tensor) -> Tensor:
        """Outputs in eval mode, (N, K), in float32 or wider, without gradients."""
        with mode(self.model, training=False), torch.no_grad():
            return torch.cat([widen(self.model(part)) for part in torch.split(x, self.at_once)])


@dataclass(frozen=True)
class Look:
    """What two forward passes over the same images showed.

    Args:
        logits: (N, K) first answer.
        again: (N, K) second answer.
        in_train_mode: Names of submodules that were in train mode after a forward pass in eval mode.
        seen: Mean and standard deviation (C,) of what the first layer with weights received, channel by channel; None
            where there is no such layer, or it does not receive an image.
    """

    logits: Tensor
    again: Tensor
    in_train_mode: tuple[str, ...]
    seen: tuple[Tensor, Tensor] | None


def probe(model: Classifier, data: ClassData, size: int, at_once: int, device: torch.device) -> Probe:
    """Take so many images, the same number of each class as far as possible."""
    rows = spread(data, size)
    x, y = data.batch(rows, device)
    return Probe(model, x, y, data.index[rows].to(device), at_once)


def spread(data: ClassData, size: int) -> Tensor:
    """Positions of at most ``size`` samples: the first of every group, then the second of every group, and so on."""
    ranks = torch.zeros(len(data), dtype=torch.int64)
    for rows in rows_by_group(data.groups.cpu(), data.num_groups):
        ranks[rows] = torch.arange(len(rows))
    order = ranks.argsort(stable=True)
    return order[:size].sort().values


def look(at: Probe) -> Look:
    """Run the model twice."""
    trained: list[str] = []
    with _watched(at.model) as inputs, mode(at.model, training=False), torch.no_grad():
        parts = []
        for part in torch.split(at.x, at.at_once):
            inputs.ready = True
            parts.append(widen(at.model(part)))
        if isinstance(at.model, nn.Module):
            trained = [name or "the model itself" for name, module in at.model.named_modules() if module.training]
    again = at.logits(at.x)
    return Look(torch.cat(parts), again, tuple(trained), _moments(inputs.received, at.x))


@dataclass
class _Inputs:
    """What first layers received; ``ready`` until the first one of a pass was called."""

    received: list[Tensor] = field(default_factory=list)
    ready: bool = False


@contextmanager
def _watched(model: Classifier) -> Iterator[_Inputs]:
    inputs = _Inputs()

    def keep(_: nn.Module, given: tuple[object, ...]) -> None:
        if inputs.ready and given and isinstance(given[0], Tensor):
            inputs.ready = False
            inputs.received.append(given[0].detach())

    watchable = isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule)
    layers = [each for each in model.modules() if isinstance(each, FIRST_LAYERS)] if watchable else []  # type: ignore[attr-defined]
    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def _moments(received: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation (C,) over images and pixels, if these are images of as many channels as ``x`` has."""
    if not received or sum(len(each) for each in received) != len(x):
        return None
    seen = torch.cat(received).float()
    if seen.dim() != 4 and seen.numel() == x.numel():  # flattened for a linear layer
        seen = seen.reshape(x.shape)
    if seen.dim() != 4 or seen.shape[1] != x.shape[1]:
        return None
    return moments(seen)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of images (N, C, H, W), channel by channel."""
    values = images.transpose(0, 1).flatten(1)
    return values.mean(1), values.std(1)
