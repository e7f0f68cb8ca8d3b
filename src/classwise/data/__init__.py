"""Data: sources, roles, loading and augmentation."""

from classwise.data.augmentation import Augmentation, CropFlip, NoAugmentation
from classwise.data.cifar10 import CIFAR10
from classwise.data.dataset import ClassData, Dataset
from classwise.data.digits import Digits
from classwise.data.given import GivenData
from classwise.data.loader import Batch, Loader
from classwise.data.resident import Resident
from classwise.data.source import DataSource, load
from classwise.data.split import Roles, Split

__all__ = [
    "CIFAR10",
    "Augmentation",
    "Batch",
    "ClassData",
    "CropFlip",
    "DataSource",
    "Dataset",
    "Digits",
    "GivenData",
    "Loader",
    "NoAugmentation",
    "Resident",
    "Roles",
    "Split",
    "load",
]
