"""An audit's verdict on a sample does not depend on the company it is in."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from classwise import ClassData
from classwise.attacks import PGD
from classwise.evaluation.collect import Evaluator
from classwise.randomness import GeneratorNoise, KeyedNoise
from classwise.threat import linf


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    with torch.no_grad():
        model[3].weight.mul_(3)
    return model


@pytest.fixture(scope="module")
def data(model: nn.Module) -> ClassData:
    """Images the model gets right, most of them narrowly."""
    images = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    return ClassData(images, model(images).argmax(1), ("a", "b", "c", "d"))


def outcomes(model: nn.Module, data: ClassData, batch_size: int = 32, seed: int = 0) -> dict[int, tuple[int, float]]:
    attack = PGD(steps=2, relative_step=0.3, loss="cross-entropy")
    found = Evaluator((linf("0.02"),), (attack,), seed=seed, batch_size=batch_size).collect(model, data)
    verdicts = zip(found.prediction[0].tolist(), found.margin[0].tolist(), strict=True)
    return dict(zip(found.index.tolist(), verdicts, strict=True))


def test_order_and_company_change_nothing(model: nn.Module, data: ClassData) -> None:
    reference = outcomes(model, data)
    broken = sum(int(prediction != data.labels[i]) for i, (prediction, _) in reference.items())
    assert 30 < broken < 270  # verdicts of both kinds, so that the comparison says something
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    assert outcomes(model, data.subset(shuffled)) == reference
    part = shuffled[:77]
    assert outcomes(model, data.subset(part)) == {int(i): reference[int(i)] for i in part}
    one = torch.tensor([123])
    assert outcomes(model, data.subset(one)) == {123: reference[123]}


def test_another_batch_size_agrees_almost_always(model: nn.Module, data: ClassData) -> None:
    reference = outcomes(model, data)
    for batch_size in (7, 100, 300):
        other = outcomes(model, data, batch_size)
        same = np.mean([other[i][0] == reference[i][0] for i in reference])
        assert same >= 0.999
        assert np.allclose([other[i][1] for i in reference], [reference[i][1] for i in reference], atol=1e-4)


def test_another_seed_starts_elsewhere(model: nn.Module, data: ClassData) -> None:
    assert outcomes(model, data, seed=1) != outcomes(model, data)


def test_keyed_draws_are_functions_of_seed_key_restart_and_draw() -> None:
    like = torch.empty(6, 2, 5, 5)
    keys = torch.tensor([3, 1, 4, 15, 9, 2])

    def draw(seed: int = 0, key: torch.Tensor = keys, restart: int = 0, skip: int = 0) -> torch.Tensor:
        noise = KeyedNoise(seed, key, restart)
        for _ in range(skip):
            noise.uniform(like[: len(key)])
        return noise.uniform(like[: len(key)])

    assert torch.equal(draw(), draw())
    assert torch.equal(draw(key=keys.flip(0)), draw().flip(0))
    assert torch.equal(draw(key=keys[2:3]), draw()[2:3])
    others = [draw(seed=1), draw(restart=1), draw(skip=1), draw(key=keys + 1)]
    everything = torch.stack([draw(), *others])
    for i in range(5):
        for j in range(i):
            assert float((everything[i] == everything[j]).float().mean()) < 0.01


def test_keyed_draws_have_the_right_distributions() -> None:
    noise = KeyedNoise(11, torch.arange(400))
    like = torch.empty(400, 1, 10, 10)
    uniform, normal = noise.uniform(like).flatten(), noise.normal(like).flatten()
    assert 0 <= float(uniform.min()) < float(uniform.max()) < 1
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.numpy(), "norm").pvalue > 1e-3
    within = uniform.view(400, 100)
    assert abs(float(torch.corrcoef(within)[0, 1:].mean())) < 0.03  # neighbouring keys are not alike
    assert abs(float(torch.corrcoef(within.T)[0, 1:].mean())) < 0.03
    assert normal.isfinite().all()


def test_training_noise_does_not_depend_on_the_number_of_processes() -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(6)

    whole = GeneratorNoise(generator())
    x = torch.empty(7, 3)
    first, second = whole.uniform(x), whole.normal(x)
    for rank in range(3):
        rows = slice(rank, None, 3)
        part = GeneratorNoise(generator(), 7, rows)
        assert torch.equal(part.uniform(x[rows]), first[rows])
        assert torch.equal(part.normal(x[rows]), second[rows])
