"""Time sweeps over grids of parameters: the formulas of the theory, called once for 200 x 200 sets of parameters.

Each is called a few times in one process; figures are medians. All but those marked as searches are closed forms.
"""

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import tyro

from classwise.theory import frl_arxiv, frl_icml, worst_case_weights
from classwise.theory.frontier import equal_errors, method_points
from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.kl_coverage import labels_needed, types_bound, worst_mix
from classwise.theory.mixup import effective_factor, equivalent_prior, errors_of_mixup
from classwise.theory.mixup_random import best_linear_random
from classwise.theory.noisy_feature import NoisyFeature
from report import write_result
from timing import seconds

CLASSES = 10


def main(
    out: Path = Path("benchmarks/results/theory_sweeps.json"), points: int = 200, rounds: int = 3, threads: int = 1
) -> None:
    """Measure and write the figures.

    Args:
        out: File for the figures.
        points: Values along each side of the grid.
        rounds: Rounds that count; one more warms up.
        threads: CPU threads of PyTorch; NumPy's formulas use one.
    """
    torch.set_num_threads(threads)
    load = os.getloadavg()[0]
    times: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, work in sweeps(points).items():
            times.setdefault(name, []).append(seconds(work, "cpu"))
    figures: dict[str, Any] = {
        "points": points,
        "rounds": rounds,
        "load_average_before": load,
        "seconds": {name: median(each[1:]) for name, each in times.items()},
    }
    write_result("theory_sweeps", figures, out, ("scipy",))


def sweeps(points: int) -> dict[str, Callable[[], object]]:
    """Name → a call over the whole grid."""
    ratio, radius = np.meshgrid(np.linspace(1.01, 4, points), np.linspace(0, 0.45, points))
    prior, mean = np.meshgrid(np.linspace(0.05, 0.95, points), np.linspace(0.1, 1.5, points))
    icml = frl_icml.pair(d=10, eta=0.5, ratio=ratio)
    arxiv = frl_arxiv.pair(m=4, gamma=0.5, d=100, eta=0.05, ratio=ratio)
    mixed = GaussianPair(theta=mean[..., None], times=5, sigma_plus=1.2, sigma_minus=0.8, prior=prior)
    robust, features = (
        icml.best_linear(radius),
        NoisyFeature(p_plus=0.55 + 0.44 * prior, p_minus=0.55, eta=mean, sigma=1.0, d=5),
    )
    losses = np.random.default_rng(0).normal(size=(points, points, CLASSES))
    shares = np.full(CLASSES, 1 / CLASSES)
    return {
        "best linear classifier and its errors": lambda: icml.errors(icml.best_linear(radius), radius),
        "FRL: increase of both errors": lambda: frl_icml.increase(arxiv, radius),
        "FRL: flip radius": lambda: frl_icml.flip_radius(icml, robust),
        "FRL: threshold for both errors to rise": lambda: frl_icml.both_rise_threshold(10, 0.5, ratio, 1.0, radius),
        "FRL: Omega": lambda: frl_arxiv.omega(arxiv, radius),
        "mixup: plain, mixed and original errors": lambda: errors_of_mixup(mixed, 0.5, 0.05),
        "mixup: equivalent prior and effective factor": lambda: (
            equivalent_prior(mixed, 0.5),
            effective_factor(mixed, mixed.best_linear(0.05, 0.5), 0.05),
        ),
        "mixup with random lambda (search)": lambda: best_linear_random(mixed, radius=0.05),
        "CFA: accuracies": lambda: features.accuracies(2.0, 0.1),
        "CFA: best w, first feature attacked too": lambda: features.best_weight(0.05, first_attackable=True),
        "CFA: best w and bias": lambda: features.best_with_bias(0.05),
        "frontier: equal errors": lambda: equal_errors(mixed, 0.05),
        "frontier: all methods (searches, most of it for TRADES)": lambda: method_points(mixed, 0.05),
        f"KL ball: weights of {CLASSES} classes": lambda: worst_case_weights(losses, 0.5),
        f"KL ball around other shares, {CLASSES} classes": lambda: worst_mix(shares, losses, 0.5),
        "FAAL: bound by types and labels needed": lambda: (
            types_bound(CLASSES, 500, radius + 0.01),
            labels_needed(CLASSES, radius + 0.01),
        ),
    }


if __name__ == "__main__":
    tyro.cli(main)
