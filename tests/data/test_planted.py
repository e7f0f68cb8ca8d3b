"""Images with planted difficulty: what is on them, and that the exact errors are those an audit finds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import classwise as cw
from classwise.data import PlantedImages, load
from classwise.data.split import Split
from classwise.metrics.intervals import simultaneous

PLANTED = PlantedImages(n_test=8000)


def optimal(source: PlantedImages, radius: float) -> torch.nn.Module:
    network = cw.models.Linear().build(len(source.class_names), source.shape)
    network[1].load_state_dict(source.optimal_weights(radius)._asdict())  # type: ignore[index]
    return network.eval()


@pytest.mark.parametrize("source", [PlantedImages(), PlantedImages(eta=(0.2, 0.1, 0.1), noise=(1.0,) * 6, side=13)])
def test_blocks_tell_the_pair_and_stripes_the_class(source: PlantedImages) -> None:
    data = source.load().train
    pairs, band = len(source.eta), source.side // 4
    images, labels = torch.as_tensor(data.images)[:, 0].double().numpy(), data.labels.numpy()
    width = source.side // pairs
    blocks = images[:, :band, : pairs * width].reshape(len(images), band, pairs, width)
    white = np.arange(pairs) == (labels // 2)[:, None]
    assert (blocks == white[:, None, :, None]).all()
    assert not images[:, :band, pairs * width :].any()
    for label, name in enumerate(source.class_names):
        assert name == f"{label // 2 + 1}{'+-'[label % 2]}"
        mine = (images[labels == label, band:] - 0.5) / source.unit
        spread, sign = source.noise[label], (1, -1)[label % 2]
        wanted = sign * source.eta[label // 2] * source.pattern(label // 2)
        # 5 standard errors for each pixel: over all 1086 here a false alarm has probability 1.2e-3.
        assert np.abs(mine.mean(0) - wanted).max() < 5 * spread / len(mine) ** 0.5
        assert np.abs(mine.std(0) - spread).max() < 5 * spread / (2 * len(mine)) ** 0.5


def test_patterns_are_stripes_of_their_own() -> None:
    six = PlantedImages(eta=(0.2,) * 6, noise=(1.0,) * 12)
    drawn = [six.pattern(pair) for pair in range(6)]
    assert all(set(np.unique(each)) == {-1.0, 1.0} for each in drawn)
    assert drawn[0][:, 0].tolist() == [1, -1, 1, -1, 1, -1]
    assert drawn[3][0].tolist() == [1, 1, -1, -1, 1, 1, -1, -1]
    products = [abs((one * other).mean()) for i, one in enumerate(drawn) for other in drawn[:i]]
    assert max(products) < 0.5


@pytest.mark.parametrize(("radius", "trained"), [(0.1, 0.0), (0.1, 0.1), (0.25, 0.25), (0.4, 0.3)])
def test_an_audit_of_the_optimal_classifier_finds_the_exact_errors(radius: float, trained: float) -> None:
    """Up to radii at which some pairs cannot be told apart any more."""
    size, at = radius * PLANTED.unit, trained * PLANTED.unit
    audit = cw.audit(
        optimal(PLANTED, at),
        PLANTED.load(),
        threat=cw.linf(size),
        attacks="quick",
        batch_size=4000,
        progress=cw.progress.Silent(),
    )
    table = audit.table()
    for exact, accuracy in (
        (PLANTED.exact_errors(0, at), table.clean),
        (PLANTED.exact_errors(size, at), table.robust),
    ):
        low, high = simultaneous(np.rint((1 - accuracy) * table.n), table.n, confidence=0.9999)
        assert ((low <= exact) & (exact <= high)).all(), (exact, low, high)
    outcomes = audit.outcomes
    for predictions in (outcomes.clean_prediction, outcomes.prediction[0]):
        assert (predictions // 2 == outcomes.label // 2).all()  # never taken for another pair


def test_no_attack_within_the_room_reaches_another_pair() -> None:
    """Not only in what an audit finds: logits are linear, so their worst case over the box is exact."""
    images = torch.as_tensor(PLANTED.load().train.images)
    weight, bias = PLANTED.optimal_weights(0.1 * PLANTED.unit)
    radius, x = PLANTED.room * PLANTED.unit, images.flatten(1)
    low, high = (x - radius).clamp_min(0), (x + radius).clamp_max(1)
    labels = PLANTED.load().train.labels
    for own in range(0, 8, 2):
        mine = labels // 2 == own // 2
        for other in {0, 2, 4, 6} - {own}:
            for rival in (other, other + 1):
                # The better of the own pair is at least the mean of both.
                slope = (weight[own] + weight[own + 1]) / 2 - weight[rival]
                worst = torch.where(slope > 0, low[mine], high[mine]) @ slope + bias[own : own + 2].mean() - bias[rival]
                assert worst.min() > 0


def test_a_smaller_amplitude_and_more_noise_make_a_class_harder() -> None:
    for radius in (0.0, 0.05, 0.1):
        equal = PlantedImages(eta=(0.4, 0.3, 0.2), noise=(1.0,) * 6)
        errors = equal.exact_errors(radius * equal.unit).reshape(-1, 2)
        assert errors[:, 0] == pytest.approx(errors[:, 1], abs=1e-12)
        assert (np.diff(errors[:, 0]) > 0).all()
        noisy = PlantedImages(eta=(0.3,), noise=(1.5, 1.0))
        plus, minus = noisy.exact_errors(radius * noisy.unit)
        assert plus > minus


def test_the_errors_of_a_pair_are_those_of_the_gaussian_pair() -> None:
    """48 pixels of amplitude 0.25 and noise 1.5 and 1: the pair of one dimension, rotated onto the pattern."""
    source = PlantedImages(eta=(0.25,), noise=(1.5, 1.0))
    alone = cw.data.GaussianPairData(eta=0.25, d=48, ratio=1.5)
    for radius in (0.0, 0.1, 0.2):
        assert source.exact_errors(radius * source.unit) == pytest.approx(
            alone.exact_errors(radius * alone.unit), abs=1e-12
        )


def test_seeds_and_roles() -> None:
    data = PlantedImages(n_train=160, n_test=80).load()
    assert data.train.labels.bincount().tolist() == [20] * 8
    assert data.test.checksum() == load("planted", n_train=40, n_test=80).test.checksum()
    assert data.train.checksum() != load("planted", n_train=160, seed=1).train.checksum()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eta": ()}, r"must hold one finite number above 0 for each pair"),
        ({"eta": (0.3, 0.0, 0.1, 0.1)}, r"must hold one finite number above 0 for each pair"),
        ({"noise": (1.0, 1.0)}, r"two for each of the 4 pairs of eta"),
        ({"side": 3}, r"side 3 must be at least 4"),
        ({"eta": (0.2,) * 7, "noise": (1.0,) * 14}, r"7 pairs, and images of side 8 have blocks and stripes for 6"),
        ({"n_train": 5}, r"n_train 5 leaves a class without an image"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlantedImages(**fields)


def test_an_ordinary_recipe_with_a_class_policy_runs(tmp_path: Path) -> None:
    config = cw.recipe(
        "digits-ccm",
        data=PlantedImages(n_train=400, n_test=80),
        split=Split(at_least=5),
        model=cw.models.SmallCNN(width=4, hidden=8),
        threat=cw.linf(0.1 * PLANTED.unit),
        adversary=cw.attacks.PGD(steps=1),
        epochs=1,
    )
    run = cw.train(config, tmp_path / "run", progress=cw.progress.Silent())
    table = run.audit(attacks="fgsm", progress=cw.progress.Silent()).table()
    assert table.names == PlantedImages().class_names


def test_the_radius_of_the_documentation() -> None:
    source = cw.data.PlantedImages()
    largest = source.room * source.unit
    assert largest == pytest.approx(0.0241, abs=5e-5)
    assert largest / 4 == pytest.approx(0.006, rel=0.01)
    found = source.exact_errors(0.006)
    assert (min(found), max(found)) == pytest.approx((0.019, 0.384), abs=5e-4)
