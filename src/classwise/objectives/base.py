"""Objectives: what a training step lowers, as named per-sample terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class SampleInfo:
    """What else is known of the samples of a batch; most objectives need none of it.

    Args:
        group: Groups (N,), int64; None: they are the labels.
        groups: Number of groups; 0: that of the classes.
        knobs: Values (N,) of the class knobs that the objective ``heeds``.
        teacher: Logits (N, K) of the teacher on the clean images, where the objective asks for one.
    """

    group: Tensor | None = None
    groups: int = 0
    knobs: Mapping[str, Tensor] = field(default_factory=dict)
    teacher: Tensor | None = None


NOTHING = SampleInfo()


@config
class Objective(Component):
    """Base class of objectives. The loss of a step is the weighted mean of the terms plus the penalty.

    Every published method's loss is such a sum of weighted label and robust terms.
    """

    kind: ClassVar[str] = "objective"

    @property
    def heeds(self) -> frozenset[str]:
        """Class knobs, beyond the weights of its terms, that it reads from ``SampleInfo.knobs``."""
        return frozenset()

    @property
    def taught(self) -> bool:
        """Whether it needs the logits of a teacher."""
        return False

    @property
    def inner(self) -> Inner:
        """The inner problem: what a "matched" adversary ascends, and from where."""
        return Inner()

    @property
    def attacked(self) -> bool:
        """Whether the step needs perturbed images at all."""
        return True

    @property
    def computes(self) -> frozenset[str]:
        """Which logits a step yields: "clean", "adversarial"."""
        return frozenset({"adversarial"})

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms, known before the first batch."""
        return ("label",)

    def reference(self, info: SampleInfo) -> Tensor | None:
        """Logits (N, K) that an adversary with the loss "kl" moves away from; None: the model's own on clean images."""
        return None

    @abstractmethod
    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """Run the model and return the terms.

        Args:
            model: In train mode.
            x: Clean images (N, …) in [0, 1].
            x_adv: Perturbed images, or the clean ones where ``attacked`` is false.
            y: Labels (N,).
            info: What else is known of the samples.
        """
