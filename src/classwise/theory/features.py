"""Penultimate features: what a network's last linear layer is given, for clean and for attacked images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classwise.attacks import Attack
from classwise.data import ClassData
from classwise.models.modes import mode
from classwise.progress import Progress, Silent
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """Features of N images in D dimensions and the linear layer above them, ``logits = features @ weight.T + bias``.

    Args:
        clean: (N, D) of the images as they are.
        attacked: (N, D) of the same images under attack.
        labels: (N,) classes in 0..K-1.
        weight: (K, D) rows of the layer.
        bias: (K,); zeros where the layer has none.
        names: K class names.

    Raises:
        ValueError: Shapes do not fit, or a number is not finite.
    """

    clean: Floats
    attacked: Floats
    labels: NDArray[np.int64]
    weight: Floats
    bias: Floats
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n, classes = len(self.labels), len(self.names)
        size = self.weight.shape[-1]
        wanted = {"clean": (n, size), "attacked": (n, size), "weight": (classes, size), "bias": (classes,)}
        for name, shape in wanted.items():
            found = getattr(self, name)
            if found.shape != shape:
                raise ValueError(f"{name} has shape {found.shape} and needs {shape}: give one row per image or class")
            if not np.isfinite(found).all():
                raise ValueError(f"{name} holds values that are not finite: no Gaussian can be fitted to them")
        if n and not (self.labels.min() >= 0 and self.labels.max() < classes):
            raise ValueError(f"labels must lie in 0..{classes - 1}: there are {classes} class names")

    def logits(self, attacked: bool = False) -> Floats:
        """(N, K) what the layer makes of the clean or of the attacked features."""
        found: Floats = (self.attacked if attacked else self.clean) @ self.weight.T + self.bias
        return found


def last_linear(model: nn.Module, images: Tensor) -> nn.Linear:
    """The linear layer whose output are the logits.

    Args:
        model: In eval mode, on the device of the images.
        images: A few images (N, C, H, W) in [0, 1].

    Raises:
        ValueError: There is none: the last layer is of another kind, or its output is changed afterwards.
    """
    answers: list[tuple[nn.Linear, Tensor]] = []

    def note(layer: nn.Module, _: object, answer: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        answers.append((layer, answer))

    hooks = [each.register_forward_hook(note) for each in model.modules() if isinstance(each, nn.Linear)]
    try:
        with torch.no_grad():
            logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, answer in reversed(answers):
        if answer.shape == logits.shape and torch.equal(answer, logits):
            return layer
    raise ValueError(
        "this network has no last torch.nn.Linear whose output are its logits, so it has no penultimate features that a "
        "linear classifier acts on: explain a network that ends in torch.nn.Linear, with nothing after it"
    )


def capture(
    model: nn.Module,
    data: ClassData,
    threat: ThreatModel,
    attack: Attack,
    *,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Features:
    """Features of images, clean and under an attack of ours.

    Args:
        model: The network, on its device; its modes and hooks are left as they were.
        data: Images.
        threat: Norm and radius of the attack.
        attack: Perturbs every image, also one that is misclassified already.
        seed: Of the attack's random starts.
        batch_size: Images at a time, at least 1.
        device: Where the model is.
        progress: Where progress is shown.

    Raises:
        ValueError: See :func:`last_linear` and :class:`Features`.
    """
    assert batch_size >= 1
    clean: list[Floats] = []
    attacked: list[Floats] = []
    with mode(model, training=False), torch.autocast(torch.device(device).type, enabled=False):
        head = last_linear(model, data.batch(slice(0, 2), device)[0])
        with (progress or Silent()).task(f"features, {threat}", len(data)) as advance:
            for start in range(0, len(data), batch_size):
                rows = slice(start, start + batch_size)
                x, y = data.batch(rows, device)
                noise = KeyedNoise(seed, data.index[rows].to(device), 0)
                x_adv = attack(model, x, y, threat=threat, noise=noise)
                for images, found in ((x, clean), (x_adv, attacked)):
                    with _entering(head) as entered, torch.no_grad():
                        model(images)
                    found.append(entered[-1].flatten(1).double().cpu().numpy())
                advance(len(x))
    weight = head.weight.detach().double().cpu().numpy()
    bias = np.zeros(len(weight)) if head.bias is None else head.bias.detach().double().cpu().numpy()
    return Features(
        np.concatenate(clean), np.concatenate(attacked), data.labels.numpy(), weight, bias, tuple(data.class_names)
    )


@contextmanager
def _entering(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What enters a layer while the context lasts."""
    entered: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: entered.append(given[0].detach()))
    try:
        yield entered
    finally:
        hook.remove()
