"""CFA's noisy feature as a data set: what is drawn, and that the exact errors are those an audit finds."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

import classwise as cw
from classwise.data import NoisyFeatureData, load
from classwise.metrics.intervals import simultaneous

FIGURE = NoisyFeatureData(eta=0.4, d=1)
"""The parameters that CFA's figure 1 is drawn with here."""
MANY = NoisyFeatureData(p_plus=0.9, p_minus=0.55, eta=0.3, sigma=1.0, d=10)


def average_accuracy(source: NoisyFeatureData, w: Any, bias: Any, radius: float) -> Any:
    """The model written down once more, feature by feature: (plus, minus) at w and bias, everything attacked."""
    s, m = source.sigma * source.d**0.5, source.d * (source.eta - radius)
    return [
        p * norm.cdf((m + w * (1 - radius) + y * bias) / s) + (1 - p) * norm.cdf((m - w * (1 + radius) + y * bias) / s)
        for p, y in ((source.p_plus, 1), (source.p_minus, -1))
    ]


WEAK = NoisyFeatureData(p_plus=0.55, p_minus=0.5, eta=0.1, sigma=1.0, d=400)
"""The first feature is hardly worth more than a coin."""


@pytest.mark.parametrize("source", [NoisyFeatureData(), MANY])
def test_the_first_feature_is_right_as_often_as_it_should_and_the_others_are_gaussian(source: NoisyFeatureData) -> None:
    data = cw.configuration.replace(source, n_train=20000).load().train
    assert data.class_names == ("+1", "-1")
    assert data.shape == (1, 1, source.d + 1)
    x = (torch.as_tensor(data.images).flatten(1).double().numpy() - 0.5) / source.unit
    for label, y, p in ((0, 1, source.p_plus), (1, -1, source.p_minus)):
        mine = x[data.labels.numpy() == label]
        n = len(mine)
        assert np.abs(mine[:, 0]) == pytest.approx(1, abs=1e-6)
        right = mine[:, 0] * y > 0
        assert abs(right.mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
        weak = mine[:, 1:]
        assert np.abs(weak.mean(0) - source.eta * y).max() < 5 * source.sigma / n**0.5
        assert np.abs(weak.std(0) - source.sigma).max() < 5 * source.sigma / (2 * n) ** 0.5
        gap = weak[right].mean() - weak[~right].mean()  # the weak features know nothing of the first
        assert abs(gap) < 5 * source.sigma / (n * p * (1 - p) * source.d) ** 0.5


@pytest.mark.parametrize("source", [NoisyFeatureData(), FIGURE, MANY])
def test_a_value_or_its_attack_is_clipped_less_than_once_in_a_million(source: NoisyFeatureData) -> None:
    largest = source.room * source.unit
    weak = norm(0.5 + source.unit * source.eta, source.unit * source.sigma)
    assert max(weak.cdf(largest), weak.sf(1 - largest)) < 1e-6
    assert 0.5 + source.unit + largest <= 1


def test_without_attack_the_errors_are_those_of_the_likelier_class() -> None:
    """The Bayes rule, integrated over the weak feature on a fine grid for either value of the first."""
    x = np.linspace(-12, 12, 400_001)
    step = x[1] - x[0]
    errors = np.zeros(2)
    for first in (1, -1):
        plus = (FIGURE.p_plus if first == 1 else 1 - FIGURE.p_plus) * norm.pdf(x, FIGURE.eta, FIGURE.sigma)
        minus = (1 - FIGURE.p_minus if first == 1 else FIGURE.p_minus) * norm.pdf(x, -FIGURE.eta, FIGURE.sigma)
        errors += step * np.array([plus[plus < minus].sum(), minus[plus >= minus].sum()])
    assert FIGURE.exact_errors(0) == pytest.approx(errors, abs=2e-5)  # half a step of density at each boundary
    assert FIGURE.exact_errors(0) == pytest.approx([1 - 0.8206, 1 - 0.7778], abs=5e-5)  # the theory's reference table
    assert NoisyFeatureData().exact_errors(0) == pytest.approx(FIGURE.exact_errors(0), abs=1e-12)


@pytest.mark.parametrize(
    ("source", "radius", "only_first"),
    [
        (NoisyFeatureData(), 0.02, False),
        (FIGURE, 0.04, False),
        (MANY, 0.03, False),
        (MANY, 0.1, False),
        (MANY, 0.29, True),
        (WEAK, 0.095, False),
    ],
)
def test_under_attack_no_plane_of_a_fine_grid_is_better(
    source: NoisyFeatureData, radius: float, only_first: bool
) -> None:
    size = radius * source.unit
    errors = source.exact_errors(size)
    w, bias = np.meshgrid(np.linspace(0, 60, 1501), np.linspace(-8, 8, 401), indexing="ij")
    on_grid = 1 - np.mean(average_accuracy(source, w, bias, radius), axis=0)
    assert errors.mean() <= on_grid.min() + 1e-12
    assert errors.mean() > on_grid.min() - 1e-3  # the grid is that fine
    best_w, best_bias = source.best(radius)
    assert np.isinf(best_w) == only_first
    if not only_first:
        # The two radii differ in the last digit, and the search finds class errors to 1e-7.
        assert errors == pytest.approx(1 - np.array(average_accuracy(source, best_w, best_bias, radius)), abs=1e-7)
        around = [
            1 - np.mean(average_accuracy(source, max(best_w + dw, 0), best_bias + db, radius))
            for dw in (-1e-3, 0, 1e-3)
            for db in (-1e-3, 0, 1e-3)
        ]
        assert min(around) >= errors.mean() - 1e-14
    else:
        assert errors == pytest.approx([1 - source.p_plus, 1 - source.p_minus], abs=1e-12)


def test_from_eta_on_only_the_first_feature_is_left() -> None:
    for share in (0.5, 0.75, 1.0):
        errors = FIGURE.exact_errors(share * FIGURE.room * FIGURE.unit)
        assert errors == pytest.approx([0.15, 0.3], abs=1e-12)
        assert FIGURE.optimal_weights(share * FIGURE.room * FIGURE.unit).weight[0, 1] == 0


@pytest.mark.parametrize(
    ("source", "radius", "trained"),
    [(FIGURE, 0.03, 0.0), (MANY, 0.1, 0.1), (MANY, 0.1, 0.0), (MANY, 0.6, 0.3)],
    ids=["figure 1", "robust", "natural", "first feature alone"],
)
def test_an_audit_of_the_optimal_classifier_finds_the_exact_errors(
    source: NoisyFeatureData, radius: float, trained: float
) -> None:
    size, at = radius * source.unit, trained * source.unit
    network = cw.models.Linear().build(2, source.shape).eval()
    network[1].load_state_dict(source.optimal_weights(at)._asdict())  # type: ignore[index]
    data = source.load()
    table = cw.audit(
        network,
        data.test if source.d > 1 else data.train,  # one Gaussian value is drawn twice at times, which is warned of
        threat=cw.linf(size),
        attacks="quick",
        batch_size=4000,
        progress=cw.progress.Silent(),
    ).table()
    for exact, accuracy in (
        (source.exact_errors(0, at), table.clean),
        (source.exact_errors(size, at), table.robust),
    ):
        low, high = simultaneous(np.rint((1 - accuracy) * table.n), table.n, confidence=0.9999)
        assert ((low <= exact) & (exact <= high)).all(), (exact, low, high)


def test_seeds_and_roles() -> None:
    data = NoisyFeatureData(n_train=300, n_test=200).load()
    assert data.train.checksum() == load("noisy-feature", n_train=300).train.checksum()
    assert data.test.checksum() == load("noisy-feature", n_train=50, n_test=200).test.checksum()
    assert data.train.checksum() != load("noisy-feature", n_train=300, seed=1).train.checksum()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"p_minus": 0.9}, r"1/2 <= p_minus <= p_plus < 1: class -1 is the hard one"),
        ({"p_minus": 0.4}, r"p_minus 0\.4 and p_plus 0\.85 must satisfy"),
        ({"p_plus": float("nan")}, r"p_plus nan must satisfy"),
        ({"eta": 0.5}, r"eta 0\.5 must lie strictly between 0 and 1/2: .* turn the first feature round"),
        ({"sigma": 0.0}, r"sigma 0\.0 must be a finite number above 0"),
        ({"d": 0}, r"d 0 must be at least 1: it counts the weak features"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoisyFeatureData(**fields)
