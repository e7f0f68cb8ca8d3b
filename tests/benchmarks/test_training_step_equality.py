"""The loop's step computes what the textbook's step computes."""

import textbook
import torch
import training_step
from torch import Tensor, nn

from classwise.models import PreActResNet18
from classwise.policies import Fixed
from classwise.training import Hardware, Runtime, TrainConfig

FP32 = Hardware(device="cpu", precision="fp32")


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
    runtime: Runtime, steps: int, dtype: torch.dtype, config: TrainConfig | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dicts after the textbook's steps and after the loop's, from the same weights, images and noise."""
    plain = small_network(dtype).train()
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(0)  # as LoopStep seeds its own
    loop = training_step.LoopStep(small_network(dtype), runtime, config)
    for x, y in batches(steps, dtype):
        textbook.textbook_step(plain, sgd, x, y, generator)
        loop(x, y)
    return plain.state_dict(), loop.model.state_dict()


def largest_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


def test_in_float64_both_loops_agree_over_fifty_steps() -> None:
    before = small_network(torch.float64).state_dict()
    textbook_weights, weights = trained_both_ways(Runtime(FP32), 50, torch.float64)
    assert largest_difference(textbook_weights, weights) < 1e-10
    assert largest_difference(before, weights) > 0.1  # both learned something


def test_the_agreement_notices_a_changed_attack() -> None:
    weaker = TrainConfig(policy=Fixed(radius=(1.0,) * 9 + (0.5,)))
    textbook_weights, weights = trained_both_ways(Runtime(FP32), 3, torch.float64, weaker)
    assert largest_difference(textbook_weights, weights) > 1e-6


def test_input_gradients_alone_change_no_bit_in_float32() -> None:
    textbook_weights, weights = trained_both_ways(training_step.PlainRuntime(FP32), 10, torch.float32)
    for name, value in weights.items():
        assert torch.equal(value, textbook_weights[name]), name


def test_channels_last_in_float32_agrees_to_rounding_after_one_step() -> None:
    textbook_weights, weights = trained_both_ways(Runtime(FP32), 1, torch.float32)
    assert largest_difference(textbook_weights, weights) < 1e-3
