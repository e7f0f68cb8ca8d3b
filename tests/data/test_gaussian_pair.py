"""The Gaussian pair as a data set: what is drawn, and that the exact errors are those an audit finds."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import norm

import classwise as cw
from classwise.data import ClassData, GaussianPairData, KnownTruth, load
from classwise.data.known_truth import warn_beyond
from classwise.data.split import Split
from classwise.metrics.intervals import simultaneous
from classwise.threat import ThreatModel

FRL = GaussianPairData(eta=0.5, d=10, ratio=2.0, sigma=1.0)
FRL_V1 = GaussianPairData(eta=0.1, d=100, gamma=1.0, m=4, ratio=2.0, sigma=1.5)
MIXUP = GaussianPairData(eta=0.4, mid=0.1, d=4, ratio=1.0, prior=0.7)
"""Means 0.5 and -0.3."""
CONSTANT = GaussianPairData(eta=0.3, d=2, ratio=2.0, prior=0.8)
"""Here the best classifier answers +1 for everything."""


def replaced(source: KnownTruth, **fields: Any) -> Any:
    return cw.configuration.replace(source, **fields)


def optimal(source: KnownTruth, radius: float) -> torch.nn.Module:
    network = cw.models.Linear().build(len(source.class_names), source.shape)
    network[1].load_state_dict(source.optimal_weights(radius)._asdict())  # type: ignore[index]
    return network.eval()


def assert_audited(source: KnownTruth, radius: float, trained_radius: float) -> None:
    """Clean and robust errors of all classes in intervals that hold them all with 99.99 % (Clopper-Pearson)."""
    table = cw.audit(
        optimal(source, trained_radius),
        source.load(),
        threat=cw.linf(radius),
        attacks="quick",
        batch_size=4000,
        progress=cw.progress.Silent(),
    ).table()
    for exact, accuracy in (
        (source.exact_errors(0, trained_radius), table.clean),
        (source.exact_errors(radius, trained_radius), table.robust),
    ):
        low, high = simultaneous(np.rint((1 - accuracy) * table.n), table.n, confidence=0.9999)
        assert ((low <= exact) & (exact <= high)).all(), (exact, low, high)


def values(data: ClassData, source: KnownTruth) -> npt.NDArray[np.float64]:
    """Images (N, D) in units of the model."""
    return (torch.as_tensor(data.images).flatten(1).double().numpy() - 0.5) / source.unit


@pytest.mark.parametrize("source", [FRL, FRL_V1, MIXUP], ids=["frl", "frl-v1", "mixup"])
def test_each_class_has_its_mean_and_spread_in_every_coordinate(source: GaussianPairData) -> None:
    data = replaced(source, n_train=8000).load().train
    assert data.class_names == ("+1", "-1")
    assert data.shape == (1, 1, source.d + source.m)
    drawn = values(data, source)
    theta = np.repeat([source.eta, source.gamma], [source.d, source.m])
    for label, sign, spread in ((0, 1, source.ratio * source.sigma), (1, -1, source.sigma)):
        mine = drawn[data.labels.numpy() == label]
        n = len(mine)
        assert n == round(8000 * (source.prior, 1 - source.prior)[label])
        # 5 standard errors: over all 228 numbers here a false alarm has probability 1.3e-4.
        assert np.abs(mine.mean(0) - source.mid - sign * theta).max() < 5 * spread / n**0.5
        assert np.abs(mine.std(0) - spread).max() < 5 * spread / (2 * n) ** 0.5
        between = np.corrcoef(mine, rowvar=False)[np.triu_indices(len(theta), 1)]
        assert np.abs(between).max() < 6 / n**0.5


@pytest.mark.parametrize("source", [FRL, FRL_V1, MIXUP, CONSTANT])
def test_a_value_or_its_attack_is_clipped_less_than_once_in_a_million(source: GaussianPairData) -> None:
    largest = source.room * source.unit
    for sign, spread in ((1, source.ratio * source.sigma), (-1, source.sigma)):
        for half in (source.eta, source.gamma):
            pixel = norm(0.5 + source.unit * (source.mid + sign * half), source.unit * spread)
            assert pixel.cdf(0) + pixel.sf(1) < 1e-6
            assert max(pixel.cdf(largest), pixel.sf(1 - largest)) < 1e-6


@pytest.mark.parametrize(
    ("source", "radius", "trained", "expected"),
    [
        (FRL, 0.0, 0.0, (0.1965777813, 0.07290937983)),
        (FRL, 0.0, 0.2, (0.2569921199, 0.03165665959)),
        (FRL, 0.1, 0.0, (0.2432786587, 0.127511719)),
        (FRL, 0.1, 0.2, (0.3104650601, 0.06168796721)),
        (FRL_V1, 0.3, 0.4, (0.393846959, 0.09208015173)),
        (FRL_V1, 0.3, 0.0, (0.4374410523, 0.4356106933)),
        (MIXUP, 0.0, 0.0, (0.09183145067, 0.3934113325)),
        (MIXUP, 0.1, 0.1, (0.09576241319, 0.5422411754)),
        (CONSTANT, 0.0, 0.0, (0.0, 1.0)),
    ],
)
def test_exact_errors_in_the_unit_of_images(
    source: GaussianPairData, radius: float, trained: float, expected: tuple[float, float]
) -> None:
    """Values of the theory's reference table, found there by other means (free minimisation, simulation)."""
    found = source.exact_errors(radius * source.unit, trained_radius=trained * source.unit)
    assert found == pytest.approx(expected, abs=1e-9)
    if radius == trained:
        assert source.exact_errors(radius * source.unit) == pytest.approx(expected, abs=1e-9)


def test_the_numbers_of_the_documentation() -> None:
    eps = 0.2 * FRL.unit
    said = [FRL.exact_errors(eps), FRL.exact_errors(0, trained_radius=eps), FRL.exact_errors(0)]
    assert np.array(said) == pytest.approx(np.array([[0.368, 0.110], [0.257, 0.032], [0.197, 0.073]]), abs=5e-4)


def test_weights_for_images_answer_as_the_plane_of_the_model() -> None:
    for source in (FRL_V1, MIXUP):
        images = torch.as_tensor(source.load().train.images)[:50]
        logits = optimal(source, 0.3 * source.unit)(images).detach().double()
        best = source.pair.best_linear(0.3)
        x = (images.flatten(1).double().numpy() - 0.5) / source.unit
        expected = x @ best.weight + source.pair.intercept(best)
        assert (logits[:, 0] - logits[:, 1]).numpy() == pytest.approx(expected, abs=2e-4)  # float32 sums of D products


@pytest.mark.parametrize(
    ("source", "radius", "trained"),
    [(FRL, 0.2, 0.0), (FRL, 0.2, 0.2), (FRL_V1, 0.3, 0.4), (MIXUP, 0.1, 0.1), (CONSTANT, 0.1, 0.0)],
    ids=["frl natural", "frl robust", "frl-v1", "mixup", "constant"],
)
def test_an_audit_of_the_optimal_classifier_finds_the_exact_errors(
    source: GaussianPairData, radius: float, trained: float
) -> None:
    assert_audited(source, radius * source.unit, trained * source.unit)


def test_draws_depend_on_the_seed_and_the_role_alone() -> None:
    data = FRL.load()
    assert data.train.checksum() == load("gaussian-pair").train.checksum()
    assert data.test.checksum() == replaced(FRL, n_train=100).load().test.checksum()
    assert data.train.checksum() == replaced(FRL, n_test=100).load().train.checksum()
    again = replaced(FRL, seed=1).load()
    streams = [values(each, FRL).ravel() for each in (data.train, data.test, again.train, again.test)]
    noise = np.corrcoef(np.stack(streams))[np.triu_indices(4, 1)]
    # The classes, in another order in each, add to the spread and not to the correlation; 40 000 numbers each.
    assert np.abs(noise).max() < 5 / 200


def test_test_images_are_drawn_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, draw = [], GaussianPairData.draw

    def counted(self: Any, labels: Any, generator: Any) -> Any:
        drawn.append(len(labels))
        return draw(self, labels, generator)

    monkeypatch.setattr(GaussianPairData, "draw", counted)
    data = GaussianPairData(n_train=200, n_test=100).load()
    assert drawn == [200]
    assert len(data.test) == len(data.test) == 100
    assert drawn == [200, 100]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eta": 0.0}, r"eta 0\.0 must be above 0"),
        ({"ratio": -1.0}, r"ratio -1\.0 must be above 0"),
        ({"sigma": float("nan")}, r"sigma nan must be a finite number"),
        ({"gamma": -0.1}, r"gamma -0\.1 must be at least 0"),
        ({"d": 0}, r"d 0 must be at least 1 and m 0 at least 0: they count coordinates"),
        ({"prior": 1.0}, r"prior 1\.0 must lie strictly between 0 and 1"),
        ({"prior": 0.01, "n_test": 20}, r"n_test 20 leaves a class without an image: ask for more .* 0\.01, 0\.99"),
        (
            {"mid": 1e6},
            r"mid 1000000\.0, .* leave a standard deviation of 5e-07 of the pixel range, and float32 images hold 0\.0001 at the",
        ),
        ({"ratio": 1e-4}, r"ratio 0\.0001 leave a standard deviation of 8\.33e-06 .* ratio nearer to 1"),
        ({"seed": -1}, r"seed -1 must lie in 0\.\.2147483647"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianPairData(**fields)


def test_a_radius_that_images_leave_no_room_for() -> None:
    largest = FRL.room * FRL.unit
    assert FRL.exact_errors(largest).shape == (2,)
    for ask in (FRL.exact_errors, FRL.optimal_weights, lambda radius: FRL.exact_errors(0, trained_radius=radius)):
        with pytest.raises(ValueError, match=r"leave room for attacks up to there \(0\.5 in units of the model\)"):
            ask(1.01 * largest)
    with pytest.raises(ValueError, match="must be a finite number of at least 0"):
        FRL.exact_errors("-0.1")


def test_the_farthest_middle_is_held_by_float32() -> None:
    """Answers to images as they are stored, by float32 weights, are those to the numbers that were drawn."""
    source = GaussianPairData(mid=4988.0)
    with pytest.raises(ValueError, match="float32"):
        GaussianPairData(mid=4990.0)
    generator = np.random.default_rng(0)
    labels = np.arange(20000) % 2
    drawn = source.draw(labels, generator)
    radius = 0.2 * source.unit
    best = source.pair.best_linear(0.2)
    exact = ((drawn.reshape(len(drawn), -1) - 0.5) / source.unit) @ best.weight + source.pair.intercept(best) > 0
    logits = optimal(source, radius)(torch.from_numpy(drawn.astype(np.float32))).detach()
    assert float((exact != (logits[:, 0] > logits[:, 1]).numpy()).mean()) < 1e-3
    wrong = [float((exact[labels == label] != (label == 0)).mean()) for label in (0, 1)]
    assert wrong == pytest.approx(source.exact_errors(0, trained_radius=radius), abs=0.02)


@pytest.mark.parametrize("source", [FRL, cw.data.NoisyFeatureData(), cw.data.PlantedImages()])
def test_a_radius_beyond_room_gets_a_sentence(source: KnownTruth) -> None:
    largest = source.room * source.unit
    assert source.beyond(0) == source.beyond(f"{largest:.12g}") == source.beyond(largest) == ""
    said = source.beyond("8/25")
    assert said.startswith("radius 8/25 is larger than ")
    assert f"{largest:.6g}" in said
    assert repr(source.registered_name) in said
    with pytest.raises(ValueError) as refused:
        source.exact_errors("8/25")
    assert str(refused.value).startswith(said)


def test_an_ordinary_recipe_with_a_class_policy_runs(tmp_path: Path) -> None:
    config = cw.recipe(
        "digits-faal",
        data=replaced(FRL, n_train=400, n_test=200),
        split=Split(at_least=20),
        model=cw.models.Linear(),
        threat=cw.linf(0.1 * FRL.unit),
        adversary=cw.attacks.PGD(steps=2),
        epochs=1,
    )
    run = cw.train(config, tmp_path / "run", progress=cw.progress.Silent())
    assert cw.Run(tmp_path / "run").dataset.test.checksum() == config.data.load().test.checksum()
    assert run.audit(attacks="fgsm", progress=cw.progress.Silent()).table().names == ("+1", "-1")


def test_training_and_audits_beyond_the_room_say_so(tmp_path: Path) -> None:
    source = GaussianPairData(n_train=80, n_test=40)
    largest = source.room * source.unit
    config = cw.recipe(
        "digits-pgd-at",
        data=source,
        model=cw.models.Linear(),
        epochs=1,
        split=Split(at_least=4),
        threat=cw.linf(2 * largest),
    )
    with pytest.warns(UserWarning, match="leave room for attacks up to"):
        run = cw.train(config, tmp_path / "run", progress=cw.progress.Silent())
    with pytest.warns(UserWarning, match="leave room for attacks up to"):
        cw.audit(run, attacks="fgsm", progress=cw.progress.Silent())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cw.audit(run, threat=[cw.linf(largest), cw.l2(1.0)], attacks="fgsm", progress=cw.progress.Silent())


def test_radii_of_channels_reach_as_far_as_the_largest() -> None:
    source = GaussianPairData()
    largest = source.room * source.unit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_beyond(source, [ThreatModel(radius=2 * largest, channels=(0.5,))])
    with pytest.warns(UserWarning, match="leave room for attacks up to"):
        warn_beyond(source, [ThreatModel(radius=0.5 * largest, channels=(0.5, 3.0))])
