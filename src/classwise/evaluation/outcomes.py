"""Per-sample outcomes: the only thing that is kept once a model has been run."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classwise.metrics import ClassTable, class_table
from classwise.runs.atomic import write_bytes

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
FORMAT = 2


@dataclass(frozen=True)
class Outcomes:
    """What a model answered, sample by sample, clean and under attack at R radii.

    Args:
        index: (N,) position of each sample in its data set.
        label: (N,) class.
        group: (N,) what tables are made over; the label unless groups were named.
        clean_prediction: (N,) predicted class of the clean image.
        clean_margin: (N,) logit of the label minus the largest other one, clean; positive where correct.
        prediction: (R, N) predicted class of the strongest perturbed image found; the clean prediction where that is
            wrong already.
        margin: (R, N) the same margin under attack.
        broken_by: (R, N) position of the attack that broke the sample; -1 where none did.
    """

    index: Ints
    label: Ints
    group: Ints
    clean_prediction: Ints
    clean_margin: Floats
    prediction: Ints
    margin: Floats
    broken_by: Ints

    @property
    def clean_correct(self) -> NDArray[np.bool_]:
        """(N,) whether the clean image is classified correctly."""
        correct: NDArray[np.bool_] = self.clean_prediction == self.label
        return correct

    def robust_correct(self, radius: int) -> NDArray[np.bool_]:
        """(N,) whether the sample is correct clean and under attack, at one of the radii by position."""
        correct: NDArray[np.bool_] = self.clean_correct & (self.prediction[radius] == self.label)
        return correct

    def table(self, radius: int, names: tuple[str, ...]) -> ClassTable:
        """Class table at one of the radii by position."""
        return class_table(self.group, self.clean_correct, self.robust_correct(radius), names)

    def save(self, path: Path) -> str:
        """Write an ``.npz`` file in one step; returns its SHA-256."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, format=np.int64(FORMAT), **vars(self))
        write_bytes(path, buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    @classmethod
    def load(cls, path: Path, sha256: str | None = None) -> Outcomes:
        """Read what :meth:`save` wrote.

        Args:
            path: The file.
            sha256: What its checksum must be, where that is known.

        Raises:
            ValueError: The file is missing, damaged, or no outcomes file.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(
                f"cannot read outcomes {str(path)!r}: {(error.strerror or '').lower()}; run the audit again"
            ) from None
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"outcomes {str(path)!r} are damaged (their SHA-256 differs): run the audit again")
        try:
            arrays: dict[str, Any] = dict(np.load(io.BytesIO(content), allow_pickle=False))
            arrays.pop("format")
            return cls(**arrays)
        except Exception as error:  # zipfile, numpy and key errors alike mean: not our file
            raise ValueError(f"outcomes {str(path)!r} are damaged or of another kind: run the audit again") from error
