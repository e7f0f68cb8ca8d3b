"""Models: networks by name, normalisation, and the guard of train and eval mode."""

from classwise.integrations.huggingface import HuggingFace
from classwise.integrations.robustbench import RobustBench
from classwise.integrations.timm import Timm
from classwise.integrations.torchvision import Torchvision
from classwise.models.builder import ModelBuilder
from classwise.models.foreign import load_foreign
from classwise.models.given import GivenModel, weights_digest
from classwise.models.imported import Imported
from classwise.models.linear import Linear
from classwise.models.modes import mode
from classwise.models.named import network_named
from classwise.models.normalized import Normalized
from classwise.models.preact_resnet import PreActResNet18
from classwise.models.resnet_cifar import ResNetCIFAR
from classwise.models.small_cnn import SmallCNN
from classwise.models.small_vit import SmallViT
from classwise.models.wrapped import Logits, Resized

__all__ = [
    "GivenModel",
    "HuggingFace",
    "Imported",
    "Linear",
    "Logits",
    "ModelBuilder",
    "Normalized",
    "PreActResNet18",
    "ResNetCIFAR",
    "Resized",
    "RobustBench",
    "SmallCNN",
    "SmallViT",
    "Timm",
    "Torchvision",
    "load_foreign",
    "mode",
    "network_named",
    "weights_digest",
]
