"""Vision transformers of published sizes."""

import pytest

from classwise import registry
from classwise.models import ModelBuilder, ViTSmall, ViTTiny
from classwise.models.facts import count_parameters
from classwise.models.small_vit import Block


@pytest.mark.parametrize(
    ("builder", "width", "published"),
    [(ViTTiny(patch_size=16), 192, 5_717_416), (ViTSmall(patch_size=16), 384, 22_050_664)],
)
def test_the_published_sizes_have_the_published_number_of_parameters(
    builder: ModelBuilder, width: int, published: int
) -> None:
    """timm's counts for 224 pixels and 1,000 classes, less what we leave out: a class token and its position."""
    assert count_parameters(builder, 1000, (3, 224, 224)) == published - 2 * width


@pytest.mark.parametrize(("kind", "heads"), [(ViTTiny, 3), (ViTSmall, 6)])
def test_blocks_and_heads(kind: type[ModelBuilder], heads: int) -> None:
    model = kind(patch_size=8).build(2, (3, 16, 32))
    blocks = [each for each in model.modules() if isinstance(each, Block)]
    assert [each.heads for each in blocks] == [heads] * 12
    assert model.position.shape == (8, 64 * heads)


def test_names_find_them() -> None:
    assert registry.get("model", "vit-tiny") is ViTTiny
    assert registry.get("model", "vit-small") is ViTSmall
    with pytest.raises(ValueError, match="patch_size 0 must be at least 1"):
        ViTTiny(patch_size=0)
