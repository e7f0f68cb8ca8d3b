"""Data: sources, roles, loading and augmentation."""

from classwise.data.arrays import Arrays
from classwise.data.augmentation import Augmentation, CropFlip, NoAugmentation
from classwise.data.cifar10 import CIFAR10
from classwise.data.cifar100 import CIFAR100
from classwise.data.csv_list import CSVList
from classwise.data.dataset import ClassData, Dataset
from classwise.data.digits import Digits
from classwise.data.fashion_mnist import FashionMNIST
from classwise.data.feed import Feed
from classwise.data.folder import ImageFolder
from classwise.data.gaussian_pair import GaussianPairData
from classwise.data.given import GivenData
from classwise.data.gtsrb import GTSRB
from classwise.data.huggingface import HuggingFaceData
from classwise.data.known_truth import KnownTruth, LinearWeights
from classwise.data.loader import Batch, Loader
from classwise.data.medmnist import MedMNIST
from classwise.data.mnist import MNIST
from classwise.data.noisy_feature import NoisyFeatureData
from classwise.data.planted import PlantedImages
from classwise.data.resident import Resident
from classwise.data.source import DataSource, load
from classwise.data.split import Roles, Split
from classwise.data.stl10 import STL10
from classwise.data.stored import FolderImages, MappedImages, StoredImages
from classwise.data.streamed import Streamed
from classwise.data.svhn import SVHN
from classwise.data.tiny_imagenet import TinyImageNet
from classwise.data.torch_dataset import from_torch
from classwise.data.torchvision import TorchvisionData

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "GTSRB",
    "MNIST",
    "STL10",
    "SVHN",
    "Arrays",
    "Augmentation",
    "Batch",
    "CSVList",
    "ClassData",
    "CropFlip",
    "DataSource",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "Feed",
    "FolderImages",
    "GaussianPairData",
    "GivenData",
    "HuggingFaceData",
    "ImageFolder",
    "KnownTruth",
    "LinearWeights",
    "Loader",
    "MappedImages",
    "MedMNIST",
    "NoAugmentation",
    "NoisyFeatureData",
    "PlantedImages",
    "Resident",
    "Roles",
    "Split",
    "StoredImages",
    "Streamed",
    "TinyImageNet",
    "TorchvisionData",
    "from_torch",
    "load",
]
