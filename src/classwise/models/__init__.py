"""Models: networks by name, normalisation, and the guard of train and eval mode."""

from classwise.models.builder import ModelBuilder
from classwise.models.foreign import load_foreign
from classwise.models.given import GivenModel, weights_digest
from classwise.models.linear import Linear
from classwise.models.modes import mode
from classwise.models.normalized import Normalized
from classwise.models.preact_resnet import PreActResNet18
from classwise.models.resnet_cifar import ResNetCIFAR
from classwise.models.small_cnn import SmallCNN

__all__ = [
    "GivenModel",
    "Linear",
    "ModelBuilder",
    "Normalized",
    "PreActResNet18",
    "ResNetCIFAR",
    "SmallCNN",
    "load_foreign",
    "mode",
    "weights_digest",
]
