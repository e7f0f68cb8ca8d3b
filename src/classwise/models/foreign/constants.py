"""Mean and standard deviation of a normalisation: in a checkpoint of another program, and in a model of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from classwise.models.normalized import Normalized
from classwise.models.wrapped import Logits, Resized

LEAVES = (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"))
"""What programs call the two, at the end of a tensor's name."""

_ROUNDING = 5e-4
"""Programs write the constants with three digits or more."""


class Normalisation(NamedTuple):
    """What is subtracted from images in [0, 1], and what they are divided by: one value per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return f"mean {_digits(self.mean)}, std {_digits(self.std)}"


def normalisation_of(model: nn.Module) -> Normalisation | None:
    """Mean and standard deviation of the :class:`Normalized` around a network; None where there is none."""
    while isinstance(model, Normalized | Resized | Logits):
        if isinstance(model, Normalized):
            return Normalisation(_written(model.mean), _written(model.std))
        model = model.net
    return None


def without_normalisation(
    tensors: Mapping[str, Tensor], network: nn.Module
) -> tuple[dict[str, Tensor], Normalisation | None]:
    """Take mean and standard deviation out of a checkpoint.

    Args:
        tensors: Of the file.
        network: It keeps what it has tensors of that name for itself.

    Returns:
        The other tensors, and the two; None where the file does not hold both.
    """
    own = {name.rpartition(".")[2] for name in network.state_dict()}
    for mean, std in LEAVES:
        found = [key for key in tensors if key.rpartition(".")[2] == mean and key.removesuffix(mean) + std in tensors]
        if len(found) == 1 and not {mean, std} & own:
            pair = found[0], found[0].removesuffix(mean) + std
            stated = Normalisation(*(tuple(tensors[key].double().flatten().tolist()) for key in pair))
            return {key: each for key, each in tensors.items() if key not in pair}, stated
    return dict(tensors), None


def check_normalisation(model: nn.Module, stated: Normalisation | None, path: str) -> None:
    """Refuse a model that would normalise its images in another way than the network of the checkpoint.

    Args:
        model: The whole model.
        stated: What the checkpoint holds; None, where it says nothing, goes with any model.
        path: Of the checkpoint, for the message.

    Raises:
        ValueError: The model normalises otherwise, or not at all.
    """
    given = normalisation_of(model)
    if stated is None or (given is not None and _alike(given, stated)):
        return
    raise ValueError(
        f"the network in checkpoint {path!r} normalises its images ({stated}) and this model "
        f"{f'does so otherwise ({given})' if given else 'does not'}: load it into classwise.Normalized(network, mean, std) "
        "with the checkpoint's values"
    )


def _alike(one: Normalisation, other: Normalisation) -> bool:
    return all(
        len(first) == len(second) and torch.allclose(torch.tensor(first), torch.tensor(second), rtol=0, atol=_ROUNDING)
        for first, second in zip(one, other, strict=True)
    )


def _written(values: Tensor) -> tuple[float, ...]:
    """What float32 numbers were written as: seven digits are all they hold."""
    return tuple(float(f"{each:.7g}") for each in values.flatten().tolist())


def _digits(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{each:.4g}' for each in values)})"
