"""Train the digits recipe in float32 and in bf16 from several starts, and compare what withstands PGD-20.

Does bf16 cost robustness? Two runs of one start differ only in precision, so their difference is paired. The yardstick
is what chance does anyway: how far apart float32 runs of different starts are. The weights after the last epoch are
compared: choosing an epoch by 400 validation images would add chance of its own. This was decided after seeing that it
matters for these starts; docs/speed.md says how much, and what fresh starts gave.
"""

import itertools
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import torch
import tyro

import classwise as cw
from classwise.progress import Silent
from classwise.training import Hardware
from report import write_result

RECIPE, ATTACK, STARTS = "digits-pgd-at", "pgd-20", 5


def main(out: Path = Path("benchmarks/results/bf16_digits.json")) -> None:
    """Train, audit and write the figures.

    Args:
        out: File for the figures.
    """
    torch.set_num_threads(1)  # as the recipe has it
    write_result("bf16_digits", measure(), out)


def measure() -> dict[str, Any]:
    """Accuracies of every run, and for the average and the worst class how they differ."""
    runs = {name: [robust_accuracy(name, seed) for seed in range(STARTS)] for name in ("fp32", "bf16")}
    return {
        "recipe": RECIPE,
        "epochs": cw.recipe(RECIPE).epochs,
        "attack": ATTACK,
        "test_images": len(cw.recipe(RECIPE).data.load().test),
        "starts": STARTS,
        **{
            figure: differences([run[figure] for run in runs["fp32"]], [run[figure] for run in runs["bf16"]])
            for figure in ("average", "worst_class")
        },
    }


def robust_accuracy(precision: Literal["fp32", "bf16"], seed: int) -> dict[str, float]:
    """Robust test accuracy of the last weights of one run; audits are in float32."""
    hardware = Hardware(device="cpu", precision=precision, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        run = cw.train(cw.recipe(RECIPE, seed=seed, hardware=hardware), Path(folder) / "run", progress=Silent())
        result = run.audit(attacks=ATTACK, checkpoint="last", progress=Silent())
    return {"average": result.mean.value, "worst_class": result.worst.value}


def differences(fp32: list[float], bf16: list[float]) -> dict[str, Any]:
    """Differences of paired runs, and of float32 runs from each other, both as fractions."""
    paired = [b - a for a, b in zip(fp32, bf16, strict=True)]
    between_starts = [abs(a - b) for a, b in itertools.combinations(fp32, 2)]
    return {
        "fp32": fp32,
        "bf16": bf16,
        "bf16_minus_fp32": {"mean": mean(paired), "mean_size": mean(map(abs, paired)), "each": paired},
        "between_fp32_starts": {"mean_size": mean(between_starts), "largest": max(between_starts)},
    }


if __name__ == "__main__":
    tyro.cli(main)
