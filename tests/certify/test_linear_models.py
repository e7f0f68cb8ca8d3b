"""On a linear model the smoothed classifier is known exactly: certificates are never above the truth, and near it."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from classwise import ClassData
from classwise.api import certify
from classwise.evaluation.smoothing import ABSTAIN
from classwise.theory.linear import robust_margin

Make = Callable[..., nn.Sequential]


def parts(model: nn.Sequential) -> tuple[Tensor, Tensor]:
    return model[1].weight.detach().double(), model[1].bias.detach().double()


def test_two_classes_give_the_distance_from_the_border(linear: Make, images: Callable[..., ClassData]) -> None:
    model = linear(2)
    data = images(model, 40)
    weight, bias = parts(model)
    slope = weight[1] - weight[0]
    margin = data.images.double().flatten(1) @ slope + bias[1] - bias[0]
    exact = (margin.abs() / slope.norm()).numpy()  # the smoothed classifier has the same border
    sigma, n, alpha = 0.3, 40_000, 0.001
    found = certify(model, data, sigma=sigma, n=n, alpha=alpha, every=1, batch_size=4000).certificates
    claims = ~found.abstained
    assert claims.sum() >= 30
    assert np.array_equal(found.prediction[claims], (margin > 0).long().numpy()[claims])
    assert (found.radius <= exact + 1e-6).all()
    # The bound lies about three standard errors below the probability; ten leave room for the votes' own scatter.
    probability = stats.norm.cdf(exact / sigma)
    slack = 10 * np.sqrt(probability * (1 - probability) / n) + 10 / n
    nearest = sigma * stats.norm.ppf(np.maximum(probability - slack, 0.5))
    assert (found.radius >= nearest)[claims].all()
    assert (exact[~claims] < 0.06).all()  # so near the border 100 votes may choose the other class
    assert np.median(found.radius[claims] / exact[claims]) > 0.9


def test_votes_follow_the_normal_distribution(linear: Make, images: Callable[..., ClassData]) -> None:
    model = linear(2)
    data = images(model, 30, seed=3)
    weight, bias = parts(model)
    slope = weight[1] - weight[0]
    distance = ((data.images.double().flatten(1) @ slope + bias[1] - bias[0]).abs() / slope.norm()).numpy()
    found = certify(model, data, sigma=0.5, n=20_000, every=1, batch_size=5000).certificates
    probability = stats.norm.cdf(distance / 0.5)
    # Where the border is so near that the 100 votes may have chosen the other class, its share is the complement.
    share = found.hits / found.votes
    off = np.minimum(np.abs(share - probability), np.abs(share - (1 - probability)))
    score = off / np.sqrt(probability * (1 - probability) / 20_000)
    assert score.max() < 4.5
    assert 0.4 < np.sqrt((score**2).mean()) < 1.6


def test_with_several_classes_no_certificate_exceeds_the_exact_radius(
    linear: Make, images: Callable[..., ClassData]
) -> None:
    model = linear(4)
    data = images(model, 60)
    weight, bias = parts(model)
    found = certify(model, data, sigma=0.1, n=10_000, every=1, batch_size=5000).certificates
    claims = torch.from_numpy(~found.abstained)
    prediction, radius = torch.from_numpy(found.prediction), torch.from_numpy(found.radius)
    x = data.images.double()
    margin = robust_margin(weight, bias, x[claims], prediction[claims], "l2", radius[claims])
    assert int(claims.sum()) > 30
    assert bool((margin > -1e-9).all())
    # The test can fail: certificates half as large again would be wrong for many.
    larger = robust_margin(weight, bias, x[claims], prediction[claims], "l2", 1.5 * radius[claims])
    assert float((larger < 0).double().mean()) > 0.2


def test_a_constant_classifier_is_certified_as_far_as_the_votes_reach(images: Callable[..., ClassData]) -> None:
    def constant(x: Tensor) -> Tensor:
        return torch.tensor([0.0, 3.0, 1.0]).expand(len(x), 3)

    data = ClassData(torch.rand(12, 1, 4, 4), torch.arange(12) % 3, ("a", "b", "c"))
    result = certify(constant, data, sigma=0.25, n=1000, every=1)
    found = result.certificates
    assert (found.prediction == 1).all()
    assert (found.hits == 1000).all()
    assert np.allclose(found.radius, 0.25 * stats.norm.ppf(0.001 ** (1 / 1000)))
    assert result.certified(0.61).robust.tolist() == [0, 1, 0]
    assert result.certified(0.62).robust.tolist() == [0, 0, 0]
    assert len(result.weights) == 64  # a function is told from others by its answers
    other = certify(lambda x: constant(x).flip(1), data, sigma=0.25, n=1000, every=1)
    assert other.weights != result.weights
    assert certify(constant, data, sigma=0.25, n=100, every=1).weights == result.weights


def test_a_classifier_without_majority_abstains() -> None:
    def undecided(x: Tensor) -> Tensor:
        """Decides by the noise alone, three ways."""
        return x.flatten(1)[:, :3] - x.flatten(1)[:, :3].mean(1, keepdim=True)

    data = ClassData(torch.full((6, 1, 4, 4), 0.5), torch.arange(6) % 3, ("a", "b", "c"))
    result = certify(undecided, data, sigma=0.25, n=1000, every=1)
    assert (result.certificates.prediction == ABSTAIN).all()
    assert (result.certificates.radius == 0).all()
    assert [each.value for each in result.abstention] == [1, 1, 1]
    assert result.certified().mean.value == 0
