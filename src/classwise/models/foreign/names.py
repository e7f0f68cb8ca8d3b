"""How published programs name the tensors of a network, and what each name is called here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What wrapping modules put before every name."""


@dataclass(frozen=True)
class Naming:
    """The names that some programs give to the tensors of one kind of network.

    Args:
        used_by: Whose names they are.
        fits: Pattern that a name of our model matches where it is a network of this kind.
        rules: (pattern, replacement), applied in order to every name of the file.
    """

    used_by: str
    fits: str
    rules: tuple[tuple[str, str], ...]


_STAGES = (r"^layer(\d)\.", r"stage\1.")
_NORMS = (r"\.bn(\d)\.", r".norm\1.")

NAMINGS = (
    Naming(
        "ResNet-20, 32, 56, 110 with option A: conv_1_3x3, stage_1.0.conv_a, classifier",
        r"^stem_norm\.",
        (
            (r"^conv_1_3x3\.", "stem."),
            (r"^bn_1\.", "stem_norm."),
            (r"^stage_(\d)\.", r"stage\1."),
            (r"\.conv_a\.", ".conv1."),
            (r"\.bn_a\.", ".norm1."),
            (r"\.conv_b\.", ".conv2."),
            (r"\.bn_b\.", ".norm2."),
            (r"^classifier\.", "head."),
        ),
    ),
    # RobustBench has a second block with the same names whose shortcut skips the activation (Wong2020Fast,
    # Andriushchenko2020Understanding). Nothing in a file tells them apart: name those robustbench:MODEL.
    Naming(
        "PreActResNets of FRL, FAT (no bn), CFA, FAAL, DAFA, AWP, RobustBench: layer2.0.bn1, shortcut.0, bn, linear",
        r"^stage4\.0\.project\.",
        (
            (r"^conv1\.", "stem."),
            _STAGES,
            _NORMS,
            (r"\.shortcut\.0\.", ".project."),
            (r"^bn\.", "norm."),
            (r"^linear\.", "head."),
        ),
    ),
    Naming(
        "ResNets of MART, FAT, FAAL, WAT, DAFA, RobustBench: bn1, layer2.0.shortcut.1, linear; of torchvision: downsample, fc",
        r"^stage4\.0\.project_norm\.",
        (
            (r"^conv1\.", "stem."),
            (r"^bn1\.", "stem_norm."),
            _STAGES,
            _NORMS,
            (r"\.(shortcut|downsample)\.0\.", ".project."),
            (r"\.(shortcut|downsample)\.1\.", ".project_norm."),
            (r"^(linear|fc)\.", "head."),
        ),
    ),
    Naming(
        "WideResNets of TRADES, MART, AWP, FAT, FRL, FAAL, WAT, DAFA, RobustBench: block1.layer.0.convShortcut, bn1, fc",
        r"^stage3\.0\.project\.",
        (
            (r"^layer_one\.", "conv1."),  # FRL lists every layer a second time
            (r"^other_layers\.0\.", "block1."),
            (r"^other_layers\.1\.", "sub_block1."),
            (r"^other_layers\.2\.", "block2."),
            (r"^other_layers\.3\.", "block3."),
            (r"^other_layers\.4\.", "bn1."),
            (r"^other_layers\.5\.", "fc."),
            (r"^conv1\.", "stem."),
            (r"^block(\d)\.layer\.", r"stage\1."),
            (r"^sub_block1\.layer\.", "sub_block."),
            _NORMS,
            (r"\.convShortcut\.", ".project."),
            (r"^bn1\.", "norm."),
            (r"^fc\.", "head."),
        ),
    ),
    Naming(
        "SmallCNN of TRADES, MNIST_CNN of WAT: feature_extractor.conv1, classifier.fc1",
        r"^hidden1\.",
        (
            (r"^feature_extractor\.", ""),
            (r"^classifier\.fc([12])\.", r"hidden\1."),
            (r"^classifier\.fc3\.", "head."),
        ),
    ),
)
"""Every naming that is known. Others with the same tensors are left out on purpose where they compute something else:
a ResNet-20 with conv1, bn1, layer1, linear puts its shortcut's zeros elsewhere, and the WideResNets of DeepMind (init_conv,
batchnorm_0) pad one side of an image only."""


def map_keys(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of a file to the keys of a model; see :func:`origins`."""
    return {name: tensors[key] for name, key in origins(tensors, model).items()}


def origins(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, str]:
    """Which tensor of a file is which tensor of a model.

    Tried are the names as they are and with one prefix after the other taken off, as long as every name bears one of
    ``PREFIXES``; each of these also by every naming of ``NAMINGS`` that is of the model's kind. What fits most of the
    model's names is taken, the earlier one of two that fit alike. Names that no naming knows stay.

    Returns:
        Name in the model → name in the file. A tensor that the file holds twice, equal in every element, is taken once.

    Raises:
        ValueError: Two different tensors of the file get one name.
    """
    own = set(model.state_dict())
    fitting = [each.rules for each in NAMINGS if any(re.search(each.fits, name) for name in own)]
    bare = {key: key for key in tensors}
    candidates = _renamed(bare, fitting)
    while prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in bare.values())), None):
        bare = {key: name.removeprefix(prefix) for key, name in bare.items()}
        candidates += _renamed(bare, fitting)
    best = max(candidates, key=lambda names: len(own & set(names.values())))
    found: dict[str, str] = {}
    for key, name in best.items():
        if name in found and not torch.equal(tensors[found[name]], tensors[key]):
            raise ValueError(f"the checkpoint holds {name!r} as {found[name]!r} and as {key!r}: keep one of them")
        found.setdefault(name, key)
    return found


def _renamed(names: dict[str, str], namings: list[tuple[tuple[str, str], ...]]) -> list[dict[str, str]]:
    """The names as they are, and by every naming; keys are the file's own names."""
    return [names, *({key: _rename(name, rules) for key, name in names.items()} for rules in namings)]


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
