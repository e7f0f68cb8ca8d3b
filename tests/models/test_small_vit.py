"""The small vision transformer: shapes, gradients, and its attention against a loop over patches and heads."""

import math

import pytest
import torch
from torch import Tensor

from classwise import registry
from classwise.models import SmallViT
from classwise.models.small_vit import Block


@pytest.mark.parametrize(
    ("shape", "patch_size", "patches"),
    [((1, 8, 8), 2, 16), ((1, 8, 8), 4, 4), ((3, 32, 32), 4, 64), ((3, 28, 16), 4, 28), ((2, 6, 6), 3, 4)],
)
def test_shapes_and_gradients(shape: tuple[int, int, int], patch_size: int, patches: int):
    torch.manual_seed(0)
    model = SmallViT(patch_size=patch_size, width=16, depth=2, heads=2).build(7, shape)
    x = torch.rand(5, *shape, requires_grad=True)
    logits = model(x)
    assert logits.shape == (5, 7)
    assert model.position.shape == (patches, 16)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x, retain_graph=True)
    assert gradient.shape == x.shape
    assert (gradient.flatten(1).abs() > 0).float().mean() > 0.99  # every pixel counts
    weights = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
    assert all(each.isfinite().all() for each in weights)
    names = [name for name, _ in model.named_parameters()]
    silent = [name for name, each in zip(names, weights, strict=True) if not each.any()]
    assert not silent


def test_attention_is_the_formula():
    torch.manual_seed(0)
    width, heads = 12, 3
    block, x = Block(width, heads).double(), torch.randn(2, 5, width, dtype=torch.float64)
    query, key, value = block.query_key_value(x).split(width, dim=-1)
    size = width // heads
    expected = torch.zeros_like(x)
    for n in range(2):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(5):
                scores = torch.stack([query[n, i, part] @ key[n, j, part] / math.sqrt(size) for j in range(5)])
                share = scores.exp() / scores.exp().sum()
                expected[n, i, part] = sum(share[j] * value[n, j, part] for j in range(5))
    assert torch.allclose(block.attend(x), block.mix(expected), atol=1e-12)


def test_the_order_of_patches_matters_only_through_positions():
    """Without positions and with a mean over patches, moved patches give the same logits."""
    torch.manual_seed(0)
    model = SmallViT(patch_size=4, width=16, depth=2, heads=2).build(3, (1, 8, 8)).eval().double()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    moved = x.roll(4, dims=3)
    assert (model(x) - model(moved)).abs().max() > 1e-6
    torch.nn.init.zeros_(model.position)
    assert torch.allclose(model(x), model(moved), atol=1e-12)


def test_its_derivative_is_the_one_of_finite_differences():
    torch.manual_seed(0)
    model = SmallViT(patch_size=2, width=8, depth=1, heads=2).build(3, (1, 4, 4)).double()
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, x)


def test_it_answers_the_same_in_either_mode_and_every_time():
    torch.manual_seed(0)
    model, x = SmallViT().build(10, (3, 32, 32)), torch.rand(4, 3, 32, 32)

    def answer() -> Tensor:
        with torch.no_grad():
            return model(x)

    first = answer()
    model.eval()
    assert torch.equal(first, answer())
    assert torch.equal(first, answer())
    assert torch.equal(first, model(x).detach())
    assert torch.allclose(first[:1], model(x[:1]), atol=1e-5)  # nothing of the batch in it


def test_the_seed_decides_the_weights():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(SmallViT(depth=1).build(4, (1, 8, 8)).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["position"], states[2]["position"])


@pytest.mark.parametrize("fields", [{"patch_size": 0}, {"width": -4}, {"depth": 0}, {"heads": 0}])
def test_sizes_below_one_are_refused(fields: dict[str, int]):
    with pytest.raises(ValueError, match="must be at least 1"):
        SmallViT(**fields)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="width 10 must be a multiple of the 4 heads"):
        SmallViT(width=10, heads=4)
    with pytest.raises(ValueError, match="images of 8x6 pixels cannot be cut into patches of 4: choose a patch_size"):
        SmallViT().build(10, (1, 8, 6))


def test_its_name_finds_it():
    assert registry.get("model", "small-vit") is SmallViT
