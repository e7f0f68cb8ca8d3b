"""Training images that lie on the training device."""

from __future__ import annotations

import torch
from torch import Tensor

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData, as_float
from classwise.randomness import Noise


class Resident:
    """Images kept on the device, as bytes where they came as bytes, and augmented as they are taken.

    Args:
        data: Training images.
        augmentation: Applied to whatever is taken.
        device: Where the images are kept.
    """

    def __init__(self, data: ClassData, augmentation: Augmentation, device: torch.device) -> None:
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.groups, self.index = data.groups.to(device), data.index.to(device)
        self.num_classes, self.num_groups = data.num_classes, data.num_groups
        self.augmentation, self.device = augmentation, device

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor, noise: Noise) -> Tensor:
        """Augmented images (N, C, H, W), float32 in [0, 1], at some positions (N,)."""
        return as_float(self.augmentation(self.images[rows], noise))
