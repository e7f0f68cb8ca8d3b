"""On a net trained under noise, no attack on the smoothed classifier breaks a sample inside its certified radius."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classwise import Run, l2, recipe, train
from classwise.api import certify
from classwise.attacks import PGD
from classwise.evaluation.certificates import CertifyResult
from classwise.evaluation.certify import every_kth
from classwise.evaluation.smoothing import Smoothed
from classwise.progress import Silent
from classwise.randomness import KeyedNoise

SIGMA = 0.25

pytestmark = pytest.mark.slow


class Expected(nn.Module):
    """Log of the mean probabilities over fixed noise draws, the same for every image: smooth, so it can be attacked."""

    def __init__(self, model: nn.Module, draws: int) -> None:
        super().__init__()
        self.model = model
        self.noise = SIGMA * KeyedNoise(77, torch.arange(draws)).normal(torch.empty(draws, 1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        noisy = (x[:, None] + self.noise).flatten(0, 1)
        answers = self.model(noisy).softmax(1).view(len(x), len(self.noise), -1)
        return answers.mean(1).clamp_min(1e-12).log()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(recipe("digits-gaussian-noise"), tmp_path_factory.mktemp("smoothing") / "run", progress=Silent())


@pytest.fixture(scope="module")
def result(run: Run) -> CertifyResult:
    return certify(run.model(), run.dataset.test, sigma=SIGMA, n=5000, every=6)


def test_the_recipe_gives_certificates(result: CertifyResult) -> None:
    table = result.certified(0.25)
    assert (table.n >= 9).all()
    assert table.overall("clean").value > 0.9
    assert table.mean.value > 0.6
    assert result.certified(0.5).mean.value > 0.3


def test_training_under_noise_is_what_makes_certificates_large(result: CertifyResult, tmp_path: Path) -> None:
    clean = train(recipe("digits-natural"), tmp_path / "natural", progress=Silent())
    other = certify(clean.model(), clean.dataset.test, sigma=SIGMA, n=1000, every=6)
    assert result.certified(0.25).mean.value > other.certified(0.25).mean.value + 0.1


def broken(run: Run, result: CertifyResult, share: float) -> np.ndarray:
    """Which certified samples an attack at this share of their radius gives another smoothed answer, by 4000 votes."""
    known = result.certificates
    rows = torch.from_numpy(known.certified(0.05).nonzero()[0])
    data = every_kth(run.dataset.test, 6).subset(rows)
    assert np.array_equal(data.index.numpy(), known.index[rows])
    radius = torch.from_numpy(known.radius[rows]) * share
    model = run.model()
    found = np.zeros(len(rows), np.bool_)
    for loss in ("cross-entropy", "margin"):
        attack = PGD(steps=12, relative_step=0.25, loss=loss, start="uniform")
        threat = l2(float(radius.max()))
        noise = KeyedNoise(3, data.index)
        x_adv = attack(Expected(model, 48), data.images, data.labels, threat=threat, radius=radius, noise=noise)
        assert bool((threat.distance(x_adv, data.images) <= radius + 1e-6).all())
        votes = Smoothed(model, 10, SIGMA, seed=11).votes(x_adv, data.index, range(4000), 2)
        found |= votes.argmax(1) != data.labels.numpy()
    return found


def test_no_attack_breaks_a_sample_inside_its_certified_radius(run: Run, result: CertifyResult) -> None:
    inside = broken(run, result, share=1.0)
    assert len(inside) > 60
    assert not inside.any()


def test_the_same_attack_breaks_many_a_little_further_out(run: Run, result: CertifyResult) -> None:
    assert broken(run, result, share=1.5).mean() > 0.5
