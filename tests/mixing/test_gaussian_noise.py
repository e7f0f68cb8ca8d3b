"""Gaussian noise in the training step."""

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from classwise import ClassData, Dataset, registry, train
from classwise.attacks import PGD
from classwise.configuration import from_plain
from classwise.data import Batch, NoAugmentation, Resident, Split
from classwise.mixing import GaussianNoise, Mixing, NoMixing
from classwise.models import Linear
from classwise.objectives import AdversarialTraining, Natural
from classwise.progress import Silent
from classwise.radius import Radius
from classwise.randomness import GeneratorNoise
from classwise.selection import Last
from classwise.training import Hardware, TrainConfig


def batch(size: int = 64) -> Batch:
    x = torch.rand(size, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    y = torch.arange(size) % 3
    return Batch(x, y, y, torch.arange(size), size, slice(None))


def images(per_class: int, seed: int) -> ClassData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat(per_class)
    x = 0.2 * torch.rand(len(labels), 1, 4, 4, generator=generator)
    x[torch.arange(len(labels)), 0, labels] += 0.8
    return ClassData(x, labels, ("a", "b", "c"))


def noise_of(mixing: Mixing, seed: int = 0) -> torch.Tensor:
    given = batch()
    source = Resident(ClassData(given.x, given.y, ("a", "b", "c")), NoAugmentation(), torch.device("cpu"))
    made = mixing.before(given, source, GeneratorNoise(torch.Generator().manual_seed(seed)))
    assert torch.equal(made.y, given.y)
    assert torch.equal(made.index, given.index)
    return made.x - given.x


def test_the_noise_is_normal_with_the_given_deviation_and_not_clipped() -> None:
    for sigma in ("0.25", "64/255"):
        drawn = noise_of(GaussianNoise(sigma=Radius(sigma))).double().flatten() / float(Radius(sigma))
        assert abs(float(drawn.mean())) < 4 / math.sqrt(len(drawn))
        assert abs(float(drawn.var()) - 1) < 4 * math.sqrt(2 / len(drawn))
        assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-3
    noisy = batch().x + noise_of(GaussianNoise(sigma=Radius("1")))
    assert float((noisy < 0).float().mean()) > 0.2
    assert float((noisy > 1).float().mean()) > 0.2


def test_images_get_noise_of_their_own_from_the_given_source() -> None:
    mixing = GaussianNoise(sigma=Radius("0.5"))
    drawn = noise_of(mixing)
    assert torch.equal(drawn, noise_of(mixing))
    assert not torch.allclose(drawn, noise_of(mixing, seed=1), atol=0.1)
    assert float(torch.corrcoef(drawn.flatten(1)).fill_diagonal_(0).abs().max()) < 0.4
    x_adv = torch.rand(5, 3, 8, 8)
    assert mixing.after(batch(), x_adv, GeneratorNoise(torch.Generator()))[1] is x_adv


def test_the_fields_name_finds_it() -> None:
    assert from_plain(Mixing, "smoothing") == from_plain(Mixing, {"name": "gaussian-noise"}) == GaussianNoise()
    assert registry.aliases("mixing", "gaussian-noise") == ["smoothing"]
    with pytest.raises(ValueError, match="sigma must be above 0"):
        GaussianNoise(sigma=Radius(0))


def test_an_attack_would_clip_the_noise() -> None:
    with pytest.raises(
        ValueError, match="mixing 'gaussian-noise' makes no sense with objective 'pgd-at': attacks project"
    ):
        TrainConfig(mixing=GaussianNoise(), objective=AdversarialTraining())


def test_the_training_loop_takes_values_outside_the_box(tmp_path: Path) -> None:
    """Noise wider than the box: training runs, is repeatable, differs from training without, and still learns."""
    data = Dataset("toy", train=images(40, seed=1), test=lambda: images(20, seed=2))
    config = TrainConfig(
        split=Split(at_least=4),
        model=Linear(),
        mixing=GaussianNoise(sigma=Radius("0.5")),
        objective=Natural(),
        validation_attack=PGD(steps=1),
        selection=Last(),
        epochs=8,
        batch_size=16,
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    weights = []
    for i, mixing in enumerate((config.mixing, config.mixing, NoMixing())):
        changed = TrainConfig(**{**vars(config), "mixing": mixing})
        run = train(changed, tmp_path / str(i), data=data, progress=Silent())
        weights.append(run.model()[1].weight.detach())
        losses = [epoch["train"]["loss"] for epoch in run.history]
        assert all(math.isfinite(loss) for loss in losses)
        assert losses[-1] < losses[0]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=1e-2)
    test = images(20, seed=2)
    model = run.model()
    assert float((model(test.images).argmax(1) == test.labels).float().mean()) > 0.9
