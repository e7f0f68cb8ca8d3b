"""Batches for objectives, with everything that the loop tells one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from classwise.objectives import Objective, SampleInfo
from classwise.policies import KNOBS
from classwise.testing.demand import BreachError
from classwise.testing.toys import images, network


@dataclass(frozen=True)
class Case:
    """A batch for an objective, with everything that the loop would tell it.

    Args:
        net: A network in eval mode, float64.
        x: Clean images (N, 1, 6, 6).
        x_adv: Perturbed images, those of an objective that is not attacked are the clean ones.
        y: Labels (N,).
        info: What else is known.
    """

    net: nn.Module
    x: Tensor
    x_adv: Tensor
    y: Tensor
    info: SampleInfo

    @classmethod
    def of(cls, objective: Objective, classes: int, n: int, seed: int = 0) -> Case:
        """A case of a number of classes and samples."""
        generator = torch.Generator().manual_seed(seed)
        x, y = images(n, classes, seed)
        x_adv = (x + 0.1 * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1)).clamp(0, 1)
        logits = 3 * torch.randn(n, classes, generator=generator, dtype=x.dtype) if objective.taught else None
        knobs = {name: torch.linspace(0.8, 1.2, n, dtype=x.dtype) for name in objective.heeds}
        net = network(classes)
        return cls(net, x, x_adv if objective.attacked else x, y, SampleInfo(y, classes, Heeded(knobs), logits))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that are handed in."""
        told = {"info.group": self.info.group, "info.teacher": self.info.teacher}
        told |= {f"info.knobs[{name!r}]": value for name, value in self.info.knobs.items()}
        given = {"x": self.x, "x_adv": self.x_adv, "y": self.y}
        return given | {name: value for name, value in told.items() if value is not None}

    def rows(self, rows: Tensor) -> Case:
        """The same with other rows, in another order."""
        info = self.info
        knobs = Heeded({name: value[rows] for name, value in info.knobs.items()})
        teacher = None if info.teacher is None else info.teacher[rows]
        group = None if info.group is None else info.group[rows]
        return Case(
            self.net, self.x[rows], self.x_adv[rows], self.y[rows], SampleInfo(group, info.groups, knobs, teacher)
        )

    def on(self, device: str) -> Case:
        """The same on a device."""

        def there(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.to(device)

        info = self.info
        told = SampleInfo(
            there(info.group),
            info.groups,
            Heeded({name: there(value) for name, value in info.knobs.items()}),
            there(info.teacher),
        )
        return Case(self.net.to(device), there(self.x), there(self.x_adv), there(self.y), told)


class Heeded(dict[str, Tensor]):
    """Knobs that say what is missing where another is read."""

    def __missing__(self, name: str) -> Tensor:
        known = name in KNOBS
        raise BreachError(
            f"it reads the knob {name!r} of info, which is not there",
            f"name it in heeds: heeds = frozenset({{{name!r}}})" if known else f"knobs are {', '.join(KNOBS)}",
        )
