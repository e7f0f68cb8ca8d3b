"""Attack losses against hand-computed cases, their invariances and numerical derivatives."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from classwise.attacks.losses import (
    AttackLoss,
    TargetedLoss,
    attack_loss,
    dlr,
    logit_margin,
    targeted_cross_entropy,
    targeted_dlr,
    targeted_loss,
    targeted_margin,
)

LOGITS = torch.tensor([[5.0, 1.0, 3.0, 2.0, -4.0]], dtype=torch.float64)


def label(number: int) -> Tensor:
    return torch.tensor([number])


def random_logits(samples: int = 60, classes: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (samples,), generator=generator)
    return logits, y, (y + 1 + torch.randint(0, classes - 1, (samples,), generator=generator)) % classes


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (0, -(5 - 3) / (5 - 2)),  # right: the runner-up is class 2
        (2, -(3 - 5) / (5 - 2)),
        (3, -(2 - 5) / (5 - 2)),
        (4, -(-4 - 5) / (5 - 2)),
    ],
)
def test_dlr_by_hand(y: int, expected: float) -> None:
    assert float(dlr(LOGITS, label(y))) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(
    ("y", "target", "expected"),
    [
        (0, 2, -(5 - 3) / (5 - 1.5)),  # third and fourth are 2 and 1
        (0, 4, -(5 + 4) / (5 - 1.5)),
        (2, 0, -(3 - 5) / (5 - 1.5)),
        (4, 3, -(-4 - 2) / (5 - 1.5)),
    ],
)
def test_targeted_dlr_by_hand(y: int, target: int, expected: float) -> None:
    assert float(targeted_dlr(LOGITS, label(y), label(target))) == pytest.approx(expected, abs=1e-11)


def test_other_targeted_losses_by_hand() -> None:
    assert float(targeted_margin(LOGITS, label(0), label(2))) == -2
    assert float(targeted_margin(LOGITS, label(4), label(2))) == 7
    uniform = torch.zeros(1, 8, dtype=torch.float64)
    assert float(targeted_cross_entropy(uniform, label(3))) == pytest.approx(-3 * 0.6931471805599453, abs=1e-12)


@given(st.integers(0, 10_000), st.floats(0.05, 50), st.floats(-50, 50))
def test_scale_and_shift_change_no_ratio(seed: int, scale: float, shift: float) -> None:
    logits, y, target = random_logits(samples=8, seed=seed)
    moved = scale * logits + shift
    assert torch.allclose(dlr(moved, y), dlr(logits, y), rtol=1e-8, atol=1e-8)
    assert torch.allclose(targeted_dlr(moved, y, target), targeted_dlr(logits, y, target), rtol=1e-8, atol=1e-8)
    assert torch.allclose(targeted_cross_entropy(logits + shift, target), targeted_cross_entropy(logits, target))
    assert torch.allclose(targeted_margin(moved, y, target), scale * targeted_margin(logits, y, target), atol=1e-10)


@given(st.permutations(range(7)))
def test_the_order_of_classes_does_not_matter(order: list[int]) -> None:
    logits, y, target = random_logits()
    permuted = logits[:, order]
    place = torch.tensor(order).argsort()
    assert torch.equal(dlr(permuted, place[y]), dlr(logits, y))
    for name in get_args(TargetedLoss):
        theirs = targeted_loss(name, permuted, place[y], place[target])
        assert torch.allclose(theirs, targeted_loss(name, logits, y, target), rtol=0, atol=1e-13), name


def test_the_sign_says_who_is_ahead() -> None:
    logits, y, target = random_logits(samples=500)
    value = dlr(logits, y)
    assert torch.equal(value > 0, logits.argmax(1) != y)
    assert torch.equal(value < 0, logit_margin(logits, y) > 0)
    right = value[value < 0]
    assert len(right) > 20
    assert float(right.min()) >= -1  # the runner-up is at least the third
    others = logits.gather(1, target[:, None])[:, 0] > logits.gather(1, y[:, None])[:, 0]
    assert torch.equal(targeted_dlr(logits, y, target) > 0, others)
    assert torch.equal(targeted_margin(logits, y, target) > 0, others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_logits_give_zero_and_no_nan(dtype: torch.dtype) -> None:
    logits = torch.full((2, 5), 3.0, dtype=dtype, requires_grad=True)
    y, target = torch.tensor([0, 4]), torch.tensor([1, 2])
    for value in (dlr(logits, y), targeted_dlr(logits, y, target)):
        assert torch.equal(value, torch.zeros(2, dtype=dtype))
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert bool(gradient.isfinite().all())


def test_a_tie_at_the_top_is_the_edge() -> None:
    logits = torch.tensor([[2.0, 2.0, 0.0, -1.0]], dtype=torch.float64)
    assert float(dlr(logits, label(0))) == 0
    assert float(dlr(logits, label(1))) == 0
    assert float(dlr(logits, label(2))) == pytest.approx(1, abs=1e-11)


def test_few_classes_are_refused() -> None:
    logits, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert dlr(logits, y).shape == (4,)
    with pytest.raises(
        ValueError, match=r"the dlr loss needs logits of at least 3 classes, here are 2: use the margin"
    ):
        dlr(logits[:, :2], y.clamp_max(1))
    with pytest.raises(ValueError, match="the targeted dlr loss needs logits of at least 4 classes, here are 3"):
        targeted_dlr(logits, y, (y + 1) % 3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, y, _: dlr(logits, y),
        targeted_dlr,
        targeted_margin,
        lambda logits, _, target: targeted_cross_entropy(logits, target),
    ],
)
def test_derivatives_are_right(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    logits, y, target = random_logits(samples=20)
    assert torch.autograd.gradcheck(lambda z: loss(z, y, target), logits.requires_grad_())


def test_names_stand_for_the_functions() -> None:
    logits, y, target = random_logits()
    clean = random_logits(seed=1)[0]
    by_name = {name: attack_loss(name, logits, y, clean) for name in get_args(AttackLoss)}
    assert set(by_name) == {"cross-entropy", "kl", "margin", "dlr"}
    assert torch.equal(by_name["dlr"], dlr(logits, y))
    assert torch.equal(by_name["margin"], -logit_margin(logits, y))
    assert torch.equal(by_name["cross-entropy"], -targeted_cross_entropy(logits, y))
    expected: dict[Any, Tensor] = {
        "cross-entropy": logits.log_softmax(1).gather(1, target[:, None])[:, 0],
        "margin": targeted_margin(logits, y, target),
        "dlr": targeted_dlr(logits, y, target),
    }
    assert set(expected) == set(get_args(TargetedLoss))
    for name, value in expected.items():
        assert torch.allclose(targeted_loss(name, logits, y, target), value, rtol=0, atol=1e-14)
