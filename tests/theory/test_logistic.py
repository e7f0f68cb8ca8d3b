"""Population logistic regression against reference figures, discriminant analysis, and a minimiser on a grid of points."""

import itertools
import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit

from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.logistic import population_logistic


def test_reference_figures(shared):
    cases = [
        each
        for each in json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
        if each["name"] == "logistic_population_2gauss"
    ]
    assert len(cases) == 3
    for case in cases:
        given, expected = case["inputs"], case["outputs"]
        pair = GaussianPair(
            theta=[given["eta"]],
            times=given["d"],
            sigma_plus=given["sigma_plus"],
            sigma_minus=given["sigma_minus"],
            prior=given["alpha"],
        )
        fitted = population_logistic(pair, given["eps_train"])
        clean, robust = (pair.errors(fitted.classifier, radius) for radius in (0.0, given["eps_eval"]))
        found = {
            "w_each": fitted.weight[0],
            "b": fitted.intercept,
            "clean_plus": clean.plus,
            "clean_minus": clean.minus,
            "robust_plus": robust.plus,
            "robust_minus": robust.minus,
        }
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], case["rtol"], case["atol"], err_msg=name)


@pytest.mark.parametrize("theta", [[0.3], [1.0, -2.0, 0.2], [20.0]])
@pytest.mark.parametrize("prior", [0.5, 0.9, 0.02])
@pytest.mark.parametrize("radius", [0.0, 0.25])
def test_equal_spreads_give_discriminant_analysis(theta, prior, radius):
    """Then the log-odds of the classes are linear, also of classes moved together by the attack."""
    mid = np.linspace(-1, 2, len(theta))
    pair = GaussianPair(theta=theta, sigma_plus=1.3, sigma_minus=1.3, prior=prior, mid=mid)
    fitted = population_logistic(pair, radius)
    weight = 2 * np.sign(theta) * np.maximum(np.abs(theta) - radius, 0) / 1.3**2
    np.testing.assert_allclose(fitted.weight, weight, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(fitted.intercept, np.log(prior / (1 - prior)) - weight @ mid, rtol=1e-11, atol=1e-11)


class Loss:
    """The trained loss in the plane by a product rule, without any of the reductions of the module."""

    def __init__(self, theta, sigma_plus, sigma_minus, prior, mid, radius):
        z = np.linspace(-9, 9, 121)
        nodes = np.stack(np.meshgrid(z, z), -1).reshape(-1, 2)
        density = np.exp(-(nodes**2).sum(1) / 2) * (z[1] - z[0]) ** 2 / (2 * np.pi)
        self.plus, self.minus = mid + theta + sigma_plus * nodes, mid - theta + sigma_minus * nodes
        self.weights = prior * density, (1 - prior) * density
        self.radius = radius

    def __call__(self, values):
        w, b = values[:2], values[2]
        taken = self.radius * np.abs(w).sum()
        plus = np.logaddexp(0, taken - (self.plus @ w + b)) @ self.weights[0]
        return plus + np.logaddexp(0, taken + (self.minus @ w + b)) @ self.weights[1]


@pytest.mark.parametrize(
    ("theta", "plus", "minus", "prior", "radius"),
    [
        ([1.2, 0.5], 1.4, 0.8, 0.5, 0.0),
        ([1.2, -0.5], 1.4, 0.8, 0.3, 0.2),
        ([1.2, 0.5], 0.6, 1.5, 0.7, 0.8),  # the radius takes all of the second coordinate
    ],
)
def test_no_weights_of_any_direction_have_a_smaller_loss(theta, plus, minus, prior, radius):
    theta, mid = np.array(theta), np.array([0.4, -0.2])
    loss = Loss(theta, plus, minus, prior, mid, radius)
    fitted = population_logistic(
        GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=prior, mid=mid), radius
    )
    found = np.array([*fitted.weight, float(fitted.intercept)])
    # The kinks of |w|_1 forbid a gradient method; the simplex gets to about the root of the rounding error.
    best = minimize(
        loss, [1.0, 0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 2000}
    )
    assert best.success
    np.testing.assert_allclose(found, best.x, rtol=0, atol=1e-6)
    assert loss(found) <= best.fun + 1e-14


@pytest.mark.parametrize("prior", [0.5, 0.8, 0.1])
def test_a_radius_beyond_the_means_leaves_the_likelier_class(prior):
    theta, mid = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    pair = GaussianPair(theta=theta, sigma_plus=2.0, sigma_minus=1.0, prior=prior, mid=mid)
    for radius in (0.5, 0.8):
        fitted = population_logistic(pair, radius)
        assert (fitted.weight == 0).all()
        assert fitted.intercept == pytest.approx(np.log(prior / (1 - prior)))
        assert str(fitted.classifier.status) == ("all +1" if prior >= 0.5 else "all -1")
        loss = Loss(theta, 2.0, 1.0, prior, mid, radius)
        lowest = loss([0.0, 0.0, float(fitted.intercept)])
        for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
            w = 0.1 * np.array([np.cos(angle), np.sin(angle)])
            at_best = min(loss([*w, float(fitted.intercept) - w @ mid + shift]) for shift in np.linspace(-0.1, 0.1, 21))
            assert at_best >= lowest - 1e-14


def test_swapping_the_classes_swaps_the_errors():
    one = GaussianPair(theta=[1.0, 0.4], sigma_plus=1.7, sigma_minus=0.6, prior=0.3)
    other = GaussianPair(theta=[-1.0, -0.4], sigma_plus=0.6, sigma_minus=1.7, prior=0.7)
    a, b = population_logistic(one, 0.2), population_logistic(other, 0.2)
    np.testing.assert_allclose(a.weight, -b.weight, rtol=1e-10)
    np.testing.assert_allclose(a.intercept, -b.intercept, rtol=1e-10)
    np.testing.assert_allclose(
        one.errors(a.classifier, 0.1), tuple(reversed(other.errors(b.classifier, 0.1))), rtol=1e-10
    )


def test_a_grid_is_solved_as_its_points_are():
    theta, plus, radius = np.array([0.2, 1.0, 6.0])[:, None, None], np.array([0.7, 1.0, 2.5, 9.0]), 0.3
    grid = GaussianPair(theta=theta, times=3, sigma_plus=plus, sigma_minus=1.0, mid=[0.1])
    fitted = population_logistic(grid, radius)
    assert fitted.weight.shape == (3, 4, 1)
    assert fitted.intercept.shape == fitted.classifier.offset.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            one = population_logistic(
                GaussianPair(theta=theta[i, 0], times=3, sigma_plus=plus[j], sigma_minus=1.0, mid=[0.1]), radius
            )
            np.testing.assert_allclose(fitted.weight[i, j], one.weight, rtol=1e-11)
            np.testing.assert_allclose(fitted.intercept[i, j], one.intercept, rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(fitted.classifier.offset[i, j], one.classifier.offset, rtol=1e-10)


def test_what_the_figure_says_holds_for_a_scan_of_parameters():
    """Natural: class +1, of larger spread, errs more; adversarial training raises its clean error and lowers the other's."""
    ratio, centre, share = np.meshgrid([1.1, 1.4, 2.0, 3.0], [0.5, 1.0, 2.0, 3.0], [0.1, 0.25, 0.5, 0.75, 0.9])
    pair = GaussianPair(theta=centre[..., None], times=2, sigma_plus=ratio, sigma_minus=1.0)
    natural = pair.errors(population_logistic(pair).classifier)
    adversarial = pair.errors(population_logistic(pair, share * centre).classifier)
    assert natural.gap.size == 80
    assert (natural.gap > 0).all()
    assert (adversarial.plus > natural.plus).all()
    assert (adversarial.minus < natural.minus).all()


@pytest.mark.parametrize("ratio", [0.3, 1.0, 1.5, 8.0])
def test_classes_far_apart_still_have_a_stationary_loss(ratio):
    """Both derivatives of the loss vanish next to their own terms, which are as small as 1e-180 here."""
    margin = 29.0 * min(ratio, 1)
    fitted = population_logistic(GaussianPair(theta=[margin], sigma_plus=ratio, sigma_minus=1.0, prior=0.4))
    k, c = float(fitted.weight[0]), float(fitted.intercept)
    terms = []
    for label, share, spread in ((1, 0.4, ratio), (-1, 0.6, 1.0)):
        for power in (0, 1):

            def integrand(z, label=label, share=share, spread=spread, power=power):
                slope = margin + spread * z
                density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
                return share * density * expit(-k * slope - label * c) * (slope if power else label)

            edge = -(margin + label * c / k) / spread
            breaks = np.linspace(edge - 8, edge + 8, 17)
            parts = [quad(integrand, *each, epsabs=0)[0] for each in itertools.pairwise(breaks)]
            terms.append((power, sum(parts), sum(map(abs, parts))))
    for power in (0, 1):
        chosen = [each for each in terms if each[0] == power]
        assert abs(sum(each[1] for each in chosen)) < 1e-8 * sum(each[2] for each in chosen)


def test_classes_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="30 standard deviations"):
        population_logistic(GaussianPair(theta=[31.0], sigma_plus=1.0, sigma_minus=1.0))
    with pytest.raises(ValueError, match="radius must be"):
        population_logistic(GaussianPair(theta=[1.0], sigma_plus=1.0, sigma_minus=1.0), -0.1)
