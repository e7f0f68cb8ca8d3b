"""The zoo against torchvision and timm with the same weights, where they are installed."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise.models import network_named

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
Real = Callable[[str], Any]


def logits(theirs: nn.Module, word: str, rules: Rules, x: Tensor) -> tuple[Tensor, Tensor]:
    """Both networks' answers, with trained-looking weights of theirs."""
    torch.manual_seed(0)
    for name, each in theirs.named_parameters():
        if "layer_scale" in name:
            nn.init.uniform_(each, 0.1, 0.5)
    for each in theirs.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight, 0.5, 1.0), nn.init.normal_(each.bias, 0, 0.1)
            each.running_mean.normal_(0, 0.1), each.running_var.uniform_(0.5, 1.5)
    ours = network_named(word).build(10, tuple(x.shape[1:]))  # type: ignore[arg-type]
    shapes = {key: each.shape for key, each in ours.state_dict().items()}
    renamed = {}
    for key, each in theirs.state_dict().items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = each.reshape(shapes[name])
    ours.load_state_dict(renamed)
    with torch.no_grad():
        return theirs.eval()(x), ours.eval()(x)


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.filterwarnings("ignore")
def test_residual_networks_are_those_of_torchvision_with_another_stem(depth: int, real: Real) -> None:
    theirs = real("torchvision").models.get_model(f"resnet{depth}", num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    rules = [
        *((r"^conv1", "stem"), (r"^bn1", "stem_norm"), (r"^layer", "stage"), (r"\.bn(\d)", r".norm\1")),
        *((r"downsample\.0", "project"), (r"downsample\.1", "project_norm"), (r"^fc", "head")),
    ]
    theirs, ours = logits(theirs, f"resnet{depth}", rules, torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.filterwarnings("ignore")
def test_convnext_is_that_of_torchvision(real: Real) -> None:
    theirs = real("torchvision").models.convnext_tiny(num_classes=10)

    def place(match: re.Match[str]) -> str:
        """Their features are stem, stage, halving, stage, …; ours have the halving first in its stage."""
        part, inner = int(match[1]), int(match[2])
        return f"stage{(part + 1) // 2}.{inner + (part > 1)}."

    rules: Rules = [
        *((r"^features\.0\.0", "stem"), (r"^features\.0\.1", "stem_norm.norm")),
        (r"^features\.([246])\.0\.", lambda match: f"stage{int(match[1]) // 2 + 1}.0.norm.norm."),
        (r"^features\.([246])\.1\.", lambda match: f"stage{int(match[1]) // 2 + 1}.0.conv."),
        (r"^features\.(\d)\.(\d+)\.", place),
        *((r"block\.0", "conv1"), (r"block\.2", "norm1"), (r"block\.3", "mlp.0"), (r"block\.5", "mlp.2")),
        *((r"layer_scale", "scale"), (r"^classifier\.0", "norm"), (r"^classifier\.2", "head")),
    ]
    theirs, ours = logits(theirs, "convnext-tiny,patch_size=4", rules, torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize(("size", "width"), [("tiny", 192), ("small", 384)])
@pytest.mark.filterwarnings("ignore")
def test_vision_transformers_are_those_of_timm_without_class_token(size: str, width: int, real: Real) -> None:
    real("timm")
    theirs = real("timm.models.vision_transformer").VisionTransformer(
        img_size=32,
        patch_size=4,
        num_classes=10,
        embed_dim=width,
        num_heads=width // 64,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
        norm_layer=nn.LayerNorm,
    )
    rules = [
        *((r"pos_embed", "position"), (r"patch_embed\.proj", "embed"), (r"attn\.qkv", "query_key_value")),
        *((r"attn\.proj", "mix"), (r"mlp\.fc1", "mlp.0"), (r"mlp\.fc2", "mlp.2")),
    ]
    theirs, ours = logits(theirs, f"vit-{size}", rules, torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
