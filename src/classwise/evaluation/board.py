"""What is known of every sample while an audit runs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from classwise.data.dataset import ClassData
from classwise.evaluation.outcomes import Outcomes


class Board:
    """Verdicts so far, on the CPU, and which pieces of work are finished.

    Args:
        data: The samples.
        threats: Number of threat models.
    """

    def __init__(self, data: ClassData, threats: int) -> None:
        size = len(data)
        self.labels, self.groups, self.names = data.labels.cpu(), data.groups.cpu(), data.group_names
        self.clean_known = torch.zeros(size, dtype=torch.bool)
        self.clean_prediction, self.clean_margin = torch.zeros(size, dtype=torch.int64), torch.zeros(size)
        self.prediction = torch.zeros(threats, size, dtype=torch.int64)
        self.margin = torch.zeros(threats, size)
        self.broken_by = torch.full((threats, size), -1, dtype=torch.int64)
        self.broken_in = torch.full((threats, size), -1, dtype=torch.int64)  # which run of that attack it was
        self._finished: dict[tuple[int, int], Tensor] = {}

    def clean(self, rows: Tensor, prediction: Tensor, margin: Tensor) -> None:
        """Take down predictions and margins (n,) of clean images; under attack they are the first to beat."""
        self.clean_prediction[rows], self.clean_margin[rows] = prediction, margin
        self.prediction[:, rows], self.margin[:, rows] = prediction, margin
        self.clean_known[rows] = True

    def judged(
        self, threat: int, attack: int, rows: Tensor, tasks: Tensor, prediction: Tensor, margin: Tensor
    ) -> list[bool]:
        """Take down perturbed images (n,) of some runs of an attack; returns which of them now stand for their sample.

        A wrong prediction counts before a right one. Among right ones the smallest margin counts. Among wrong ones, which
        can only be of runs that went on side by side, the first run counts, so that company does not matter.
        """
        counts = []
        columns = (each.tolist() for each in (rows, tasks, prediction, margin))
        for row, task, predicted, value in zip(*columns, strict=True):
            broken = int(self.prediction[threat, row]) != int(self.labels[row])
            if predicted != int(self.labels[row]):
                earlier = int(self.broken_by[threat, row]) == attack and task < int(self.broken_in[threat, row])
                better = not broken or earlier
            else:
                better = not broken and value < float(self.margin[threat, row])
            counts.append(better)
            if better:
                self.prediction[threat, row], self.margin[threat, row] = predicted, value
                if predicted != int(self.labels[row]):
                    self.broken_by[threat, row], self.broken_in[threat, row] = attack, task
        return counts

    def outcomes(self, data: ClassData) -> Outcomes:
        """What is known now."""
        return Outcomes(
            index=data.index.numpy().astype(np.int64),
            label=self.labels.numpy().astype(np.int64),
            group=self.groups.numpy().astype(np.int64),
            clean_prediction=self.clean_prediction.numpy(),
            clean_margin=self.clean_margin.numpy(),
            prediction=self.prediction.numpy(),
            margin=self.margin.numpy(),
            broken_by=self.broken_by.numpy(),
        )

    def survivors(self, threat: int) -> Tensor:
        """(N,) whether a sample is still classified correctly."""
        return self.prediction[threat] == self.labels

    def finished(self, threat: int, attack: int, tasks: int) -> Tensor:
        """(N, tasks) which runs of an attack are finished; to be written to."""
        return self._finished.setdefault((threat, attack), torch.zeros(len(self.labels), tasks, dtype=torch.bool))

    def wanted(self, threat: int, attack: int, tasks: int) -> Tensor:
        """(N, tasks) which runs of an attack can still change what is known.

        These are the unfinished ones of survivors, and those before a run that broke the sample in the meantime.
        """
        before = torch.arange(tasks) < self.broken_in[threat][:, None]
        before &= (self.broken_by[threat] == attack)[:, None]
        return ~self.finished(threat, attack, tasks) & (self.survivors(threat)[:, None] | before)

    def note(self, threat: int) -> str:
        """Robust accuracy and the weakest class so far, for a progress bar."""
        robust = self.survivors(threat).double()
        n = torch.bincount(self.groups, minlength=len(self.names)).clamp_min(1)
        accuracy = torch.bincount(self.groups, weights=robust, minlength=len(self.names)) / n
        present = torch.bincount(self.groups, minlength=len(self.names)) > 0
        weakest = int(torch.where(present, accuracy, torch.inf).argmin())
        return f"robust: at most {100 * float(robust.mean()):.1f} %, {self.names[weakest]} {100 * float(accuracy[weakest]):.1f} %"
