"""The loop's step computes what the textbook's step computes."""

import pytest
import torch
from torch import Tensor, nn

import textbook
import training_step
from classwise.models import PreActResNet18
from classwise.policies import Fixed
from classwise.training import SGD, Hardware, Runtime, TrainConfig

FP32 = Hardware(device="cpu", precision="fp32")
RATE = 0.01  # at 0.1 this narrow network amplifies rounding a thousandfold within 50 steps


def small_network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    return PreActResNet18(width=4).build(training_step.CLASSES, (3, 8, 8)).to(dtype)


def batches(steps: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.rand(16, 3, 8, 8, generator=generator, dtype=dtype),
            torch.randint(0, training_step.CLASSES, (16,), generator=generator),
        )
        for _ in range(steps)
    ]


def trained_both_ways(
    runtime: Runtime, steps: int, dtype: torch.dtype, policy: Fixed | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and buffers after the textbook's steps and after the loop's: same start, images and noise."""
    plain = textbook.as_textbook(small_network(dtype))
    sgd = torch.optim.SGD(plain.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(0)  # as LoopStep seeds its own
    config = TrainConfig(optimizer=SGD(lr=RATE), policy=policy or Fixed())
    loop = training_step.LoopStep(small_network(dtype), runtime, config)
    for x, y in batches(steps, dtype):
        textbook.textbook_step(plain, sgd, x, y, generator)
        loop(x, y)
    return plain.state_dict(), loop.model.state_dict()


def largest_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.parametrize("runtime", [Runtime, training_step.PlainRuntime])
def test_in_float64_both_loops_agree_over_fifty_steps(runtime: type[Runtime]) -> None:
    by_textbook, by_loop = trained_both_ways(runtime(FP32), 50, torch.float64)
    assert largest_difference(by_textbook, by_loop) < 1e-10
    moved = (by_loop["stem.weight"] - small_network(torch.float64).state_dict()["stem.weight"]).abs().max()
    assert moved > 0.1  # agreement of networks that stand still would mean little


def test_the_agreement_would_notice_another_attack() -> None:
    half_for_one_class = Fixed(radius=(1.0,) * 9 + (0.5,))
    by_textbook, by_loop = trained_both_ways(Runtime(FP32), 3, torch.float64, half_for_one_class)
    assert largest_difference(by_textbook, by_loop) > 1e-6


def test_input_gradients_alone_change_no_bit_in_float32() -> None:
    by_textbook, by_loop = trained_both_ways(training_step.PlainRuntime(FP32), 10, torch.float32)
    for name, value in by_loop.items():
        assert torch.equal(value, by_textbook[name]), name
