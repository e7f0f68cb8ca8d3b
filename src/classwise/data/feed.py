"""Training images as the loop and mixing see them, wherever they lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData
from classwise.randomness import Noise


class Feed(ABC):
    """Base class: labels, groups and index on the device, images taken by position and augmented there.

    What is taken is the same, bit for bit, from every feed of the same data.

    Args:
        data: Training images.
        augmentation: Applied to whatever is taken.
        device: Where training is.
    """

    def __init__(self, data: ClassData, augmentation: Augmentation, device: torch.device) -> None:
        self.labels, self.groups, self.index = (each.to(device) for each in (data.labels, data.groups, data.index))
        self.num_classes, self.num_groups = data.num_classes, data.num_groups
        self.augmentation, self.device = augmentation, device

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def take(self, rows: Tensor, noise: Noise) -> Tensor:
        """Augmented images (N, C, H, W), float32 in [0, 1], at some positions (N,) on the device."""

    @abstractmethod
    def read(self, batches: Sequence[tuple[Tensor, Noise]]) -> Generator[Tensor, None, None]:
        """The same for some batches in turn, all known beforehand.

        Args:
            batches: Positions (N,), on the CPU, and the noise of each batch, which is drawn from when its turn comes.
                Positions may repeat, and a batch may be empty.

        Returns:
            A generator; close it where it is not gone through to its end, so that nothing keeps reading.
        """
