"""Models: networks by name, normalisation, and the guard of train and eval mode."""

from classwise.integrations.huggingface import HuggingFace
from classwise.integrations.robustbench import RobustBench
from classwise.integrations.timm import Timm
from classwise.integrations.torchvision import Torchvision
from classwise.models.builder import ModelBuilder
from classwise.models.cnn import CNN3, CNN4
from classwise.models.convnext import ConvNeXtTiny
from classwise.models.foreign import load_foreign
from classwise.models.given import GivenModel, weights_digest
from classwise.models.imported import Imported
from classwise.models.linear import Linear
from classwise.models.mlp import MLP
from classwise.models.modes import mode
from classwise.models.named import network_named
from classwise.models.normalized import Normalized
from classwise.models.preact_resnet import PreActResNet18, PreActResNet34, PreActResNet50
from classwise.models.resnet import ResNet18, ResNet34, ResNet50
from classwise.models.resnet_cifar import ResNetCIFAR
from classwise.models.small_cnn import SmallCNN
from classwise.models.small_vit import SmallViT
from classwise.models.trades_cnn import TradesCNN
from classwise.models.vit import ViTSmall, ViTTiny
from classwise.models.wide_resnet import WideResNet
from classwise.models.wrapped import Logits, Resized

__all__ = [
    "CNN3",
    "CNN4",
    "MLP",
    "ConvNeXtTiny",
    "GivenModel",
    "HuggingFace",
    "Imported",
    "Linear",
    "Logits",
    "ModelBuilder",
    "Normalized",
    "PreActResNet18",
    "PreActResNet34",
    "PreActResNet50",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNetCIFAR",
    "Resized",
    "RobustBench",
    "SmallCNN",
    "SmallViT",
    "Timm",
    "Torchvision",
    "TradesCNN",
    "ViTSmall",
    "ViTTiny",
    "WideResNet",
    "load_foreign",
    "mode",
    "network_named",
    "weights_digest",
]
