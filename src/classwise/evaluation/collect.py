"""Running a model over a data set, clean and under attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from classwise.attacks.base import Attack, Classifier
from classwise.attacks.losses import logit_margin, widen
from classwise.attacks.suite import describe
from classwise.data.dataset import ClassData
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.sanity import check_logits, check_model
from classwise.models.modes import mode
from classwise.progress import Progress, Silent
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel

TOLERANCE = 1e-5
"""How far a perturbed image may be outside the ball or the box through float32 rounding."""


@dataclass(frozen=True)
class Evaluator:
    """How outcomes are collected.

    Args:
        threats: One or several radii (and norms), each attacked on its own.
        attacks: A sample counts as broken when any of them breaks it; later ones see survivors only.
        seed: Seed of the random starts, which are keyed by sample and do not depend on batches.
        batch_size: Samples per micro-batch; the last one is padded to this size.
        device: Where the model is.
    """

    threats: Sequence[ThreatModel]
    attacks: Sequence[Attack]
    seed: int = 0
    batch_size: int = 256
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    def collect(
        self, model: Classifier, data: ClassData, progress: Progress | None = None, label: str = "audit"
    ) -> Outcomes:
        """Outcomes of every sample of a data set, in its order.

        Raises:
            ValueError: The model cannot be run on these images, or its output is not (N, classes) finite logits.
        """
        size = len(data)
        clean_prediction, clean_margin = torch.zeros(size, dtype=torch.int64), torch.zeros(size)
        prediction = torch.zeros(len(self.threats), size, dtype=torch.int64)
        margin = torch.zeros(len(self.threats), size)
        show = progress or Silent()
        with mode(model, training=False):
            if size:
                check_model(model, data, self.device)
            with show.task(f"{label}, clean", size) as advance:
                for rows in _chunks(torch.arange(size), self.batch_size):
                    predicted, value = self._judge(model, *self._load(data, rows), classes=data.num_classes)
                    clean_prediction[rows], clean_margin[rows] = predicted[: len(rows)], value[: len(rows)]
                    advance(len(rows))
            for r, threat in enumerate(self.threats):
                prediction[r], margin[r] = clean_prediction, clean_margin
                for number, attack in enumerate(self.attacks):
                    survivors = (prediction[r] == data.labels).nonzero()[:, 0]
                    with show.task(f"{label}, {threat}, {describe([attack])}", len(survivors)) as advance:
                        for rows in _chunks(survivors, self.batch_size):
                            predicted, value = self._attack(model, data, rows, threat, attack, number)
                            stronger = (predicted != data.labels[rows]) | (value < margin[r, rows])
                            prediction[r, rows] = torch.where(stronger, predicted, prediction[r, rows])
                            margin[r, rows] = torch.where(stronger, value, margin[r, rows])
                            robust = int((prediction[r] == data.labels).sum())
                            advance(len(rows), note=f"robust: at most {100 * robust / size:.1f} %")
        return Outcomes(
            index=data.index.numpy().astype(np.int64),
            label=data.labels.numpy().astype(np.int64),
            group=data.groups.numpy().astype(np.int64),
            clean_prediction=clean_prediction.numpy(),
            clean_margin=clean_margin.numpy(),
            prediction=prediction.numpy(),
            margin=margin.numpy(),
        )

    def perturb(
        self, model: Classifier, data: ClassData, threat: ThreatModel, attack: Attack, number: int = 0
    ) -> Tensor:
        """Perturbed images (N, C, H, W) of a small data set, float32 on the CPU: the ones :meth:`collect` judges."""
        parts = []
        with mode(model, training=False):
            for rows in _chunks(torch.arange(len(data)), self.batch_size):
                parts.append(self._perturb(model, data, rows, threat, attack, number)[2][: len(rows)].cpu())
        return torch.cat(parts)

    def _attack(
        self,
        model: Classifier,
        data: ClassData,
        rows: Tensor,
        threat: ThreatModel,
        attack: Attack,
        number: int,
    ) -> tuple[Tensor, Tensor]:
        x, y, x_adv = self._perturb(model, data, rows, threat, attack, number)
        outside = float((threat.distance(x_adv, x) - float(threat.radius)).amax())
        off_box = float(torch.maximum(-x_adv.amin(), x_adv.amax() - 1))
        assert outside <= TOLERANCE, f"{attack} left the ball by {outside}"
        assert off_box <= TOLERANCE, f"{attack} left the box by {off_box}"
        predicted, value = self._judge(model, x_adv, y, classes=data.num_classes)
        return predicted[: len(rows)], value[: len(rows)]

    def _perturb(
        self,
        model: Classifier,
        data: ClassData,
        rows: Tensor,
        threat: ThreatModel,
        attack: Attack,
        number: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, y = self._load(data, rows)
        key = _padded(data.index[rows], self.batch_size).to(self.device)
        noise = KeyedNoise(self.seed, key, restart=number)
        return x, y, attack(model, x, y, threat=threat, noise=noise)

    def _load(self, data: ClassData, rows: Tensor) -> tuple[Tensor, Tensor]:
        return data.batch(_padded(rows, self.batch_size), self.device)

    def _judge(self, model: Classifier, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Predictions and margins, on the CPU."""
        with torch.no_grad():
            logits = widen(model(x))
        check_logits(logits, x, classes)
        return logits.argmax(1).cpu(), logit_margin(logits, y).float().cpu()


def _chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _padded(rows: Tensor, size: int) -> Tensor:
    """Repeat the first entry up to a fixed size, so that every micro-batch has the same shape."""
    return torch.cat([rows, rows[:1].expand(size - len(rows))])
