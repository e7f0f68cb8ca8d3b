"""Objectives: what a training step lowers, as named per-sample terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from classwise.attacks.base import Classifier, Inner
from classwise.configuration import Component, config


@dataclass(frozen=True)
class Outputs:
    """What an objective computed on a batch.

    Args:
        terms: Per-sample losses (N,), unreduced, finite, differentiable. "label" is the loss on the label; "robust"
            is what holds the perturbed prediction to the clean one, with its coefficient already in it.
        clean: Logits (N, K) of the clean images, where they were computed.
        adversarial: Logits (N, K) of the perturbed images, where they were computed.
        penalty: A scalar on top of the reduced terms.
    """

    terms: Mapping[str, Tensor]
    clean: Tensor | None = None
    adversarial: Tensor | None = None
    penalty: Tensor | None = None


@config
class Objective(Component):
    """Base class of objectives. The loss of a step is the weighted mean of the terms plus the penalty.

    Source: methods.md, part E: every method's loss is a sum of weighted label and robust terms.
    """

    kind: ClassVar[str] = "objective"
    inner: ClassVar[Inner] = Inner()
    """The inner problem: what a "matched" adversary ascends, and from where."""
    attacked: ClassVar[bool] = True
    """Whether the step needs perturbed images at all."""
    computes: ClassVar[frozenset[str]] = frozenset({"adversarial"})
    """Which logits a step yields: "clean", "adversarial"."""
    term_names: ClassVar[tuple[str, ...]] = ("label",)
    """Names of the terms, known before the first batch."""

    @abstractmethod
    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor) -> Outputs:
        """Run the model and return the terms.

        Args:
            model: In train mode.
            x: Clean images (N, …) in [0, 1].
            x_adv: Perturbed images, or the clean ones where ``attacked`` is false.
            y: Labels (N,).
        """
