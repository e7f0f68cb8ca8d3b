"""On two Gaussian classes and a linear network the best bias is known: exactly on the sample, in closed form beyond it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from classwise import ThreatModel, linf
from classwise.attacks import PGD
from classwise.data import GaussianPairData
from classwise.evaluation.collect import Evaluator
from classwise.repair import Bench, LogitBias
from classwise.repair.bench import score
from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.linear import robust_margin


def population_score(pair: GaussianPair, offset: float, radius: float) -> float:
    """Average plus worst robust accuracy of the optimal direction with an offset, in the limit of many images."""
    best = pair.best_linear(radius)
    errors = pair.errors(pair.linear(best.weight, offset), radius)
    return 1 - float(errors.average()) + 1 - float(errors.worst)


def best_offset(pair: GaussianPair, radius: float) -> float:
    """By a grid and a refinement, so that local maxima do no harm."""
    grid = np.linspace(-4, 4, 801)
    around = grid[int(np.argmax([population_score(pair, each, radius) for each in grid]))]
    found = minimize_scalar(
        lambda c: -population_score(pair, c, radius), bounds=(around - 0.02, around + 0.02), method="bounded"
    )
    return float(found.x)


def fitted(source: GaussianPairData, threat: ThreatModel, off: float) -> tuple[float, float, float]:
    """Offset that a bias was fitted to, starting from the best one moved by ``off``; scores before and after."""
    data = source.load().train
    layer = nn.Linear(source.d + source.m, 2)
    layer.load_state_dict(source.optimal_weights(threat.radius)._asdict())
    with torch.no_grad():
        layer.bias += torch.tensor([0.5, -0.5]) * off
    network = nn.Sequential(nn.Flatten(), layer).eval()
    attack = PGD(steps=10, start="uniform", loss="cross-entropy", stop_when_fooled=True)
    bench = Bench(network, data, Evaluator((threat,), (attack,)), lambda *_, **__: None)
    found = LogitBias().fit(bench, {name: each.clone() for name, each in network.state_dict().items()}, {})
    bias = found.fitted["bias"]
    assert sum(bias) == pytest.approx(0, abs=1e-9)
    start = float(source.pair.best_linear(source.model_radius(threat.radius)).offset)
    # The attack is exact on a linear network, so no threshold does better by the exact margins, but for a sample on the edge.
    weight, nothing = layer.weight.detach().double(), torch.zeros(2, dtype=torch.float64)
    margins = robust_margin(weight, nothing, data.images.double(), data.labels, "linf", float(threat.radius))
    edges = torch.where(data.labels == 0, -margins, margins).unique()
    best = max(counted(margins, data.labels, float(each)) for each in (edges[1:] + edges[:-1]) / 2)
    assert score(found.after) == pytest.approx(best, abs=1.6 / 3000)
    return start + off + bias[0] - bias[1], score(found.before), score(found.after)


def counted(margins: torch.Tensor, labels: torch.Tensor, difference: float) -> float:
    """Average plus worst accuracy where the first class is given so much more than the second."""
    right = torch.where(labels == 0, margins + difference, margins - difference) > 0
    accuracies = [float(right[labels == each].double().mean()) for each in (0, 1)]
    return sum(accuracies) / 2 + min(accuracies)


@pytest.mark.parametrize("off", [1.0, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.0, -0.6))])
def test_with_a_ratio_of_two_the_bias_goes_to_the_threshold_of_equal_errors(off: float) -> None:
    source = GaussianPairData(n_train=6000)
    radius = linf(0.5 * source.eta * source.unit)
    pair, size = source.pair, source.model_radius(radius.radius)
    margin = pair.best_linear(size).reach - size * pair.best_linear(size).length
    equal = float(margin) * (2 - 1) / (2 + 1)  # (c + m) / sigma_+ = (m - c) / sigma_-
    assert best_offset(pair, size) == pytest.approx(equal, abs=2e-3)
    offset, before, after = fitted(source, radius, off)
    # Standard error of where two accuracies of 3000 images each cross: 0.03.
    assert offset == pytest.approx(equal, abs=0.1)
    assert after > before
    assert abs(float(pair.best_linear(size).offset) + off - equal) > 0.2


@pytest.mark.slow
def test_with_a_ratio_of_eight_it_goes_where_average_and_worst_are_best() -> None:
    source = GaussianPairData(n_train=6000, ratio=8.0)
    radius = linf(0.2 * source.eta * source.unit)
    pair, size = source.pair, source.model_radius(radius.radius)
    best = best_offset(pair, size)
    offset, before, after = fitted(source, radius, 0.0)
    assert after > before
    assert population_score(pair, offset, size) > population_score(pair, best, size) - 0.02
