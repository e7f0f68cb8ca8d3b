"""A Gaussian model of penultimate features: right where the features are Gaussian, and said not to fit where they are not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import nn

import classwise as cw
from classwise.attacks import PGD
from classwise.data import Split
from classwise.evaluation import AuditResult
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import Examples
from classwise.models import MLP, Normalized
from classwise.progress import Silent
from classwise.theory.explain import as_json, explain, explained, lines
from classwise.theory.feature_fit import fit
from classwise.theory.features import Features, capture, last_linear
from classwise.theory.normality import departure
from classwise.threat import linf

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
WEIGHT = np.array([[1.0, 0, 0.3, 0, 0], [0, 1.0, 0, -0.2, 0], [-0.6, -0.6, 0, 0, 0.4]])
BIAS = np.array([0.1, -0.1, 0.2])
CENTRES = np.array([[1.2, 0, 0, 0, 0.5], [0, 0.9, 0.3, 0, 0], [-0.7, -0.7, 0, 0.4, 0]])
MOVES = np.array([[0.4, -0.1, 0, 0, 0], [0, 0.3, 0.1, 0, 0], [-0.2, -0.3, 0, 0, 0.1]])
MIXING = np.stack([np.eye(5) + 0.3 * np.random.default_rng(k).normal(size=(5, 5)) for k in range(3)])
MIXING *= np.array([0.7, 0.9, 1.1])[:, None, None]


def gaussian(generator: np.random.Generator, label: int, n: int) -> np.ndarray:
    return generator.normal(size=(n, 5)) @ MIXING[label]


def bimodal(generator: np.random.Generator, label: int, n: int) -> np.ndarray:
    side = np.where(generator.random(n) < 0.5, -1.0, 1.0)[:, None]
    return 0.2 * generator.normal(size=(n, 5)) + side * CENTRES[label]


def heavy(generator: np.random.Generator, label: int, n: int) -> np.ndarray:
    return 0.3 * generator.standard_t(1.5, size=(n, 1)) * (CENTRES[label] - CENTRES[label - 1])


def features_of(draw: Draw, n: int, seed: int = 0) -> Features:
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), n)
    clean = np.empty((3 * n, 5))
    for label in range(3):
        clean[labels == label] = CENTRES[label] + draw(generator, label, n)
    return Features(clean, clean - MOVES[labels], labels, WEIGHT, BIAS, ("ant", "bee", "cat"))


def audit_of(features: Features) -> AuditResult:
    """An audit that found just what the features say."""
    n = len(features.labels)
    clean, attacked = (features.logits(each).argmax(1) for each in (False, True))
    plan = AuditPlan(
        model="made up",
        data="toy",
        split="test",
        data_sha256="",
        samples=n,
        class_names=features.names,
        threats=(linf(0.1),),
        attacks=(PGD(),),
        seed=0,
        batch_size=8,
    )
    margin = np.zeros(n, np.float32)
    outcomes = Outcomes(
        np.arange(n),
        features.labels,
        features.labels,
        clean,
        margin,
        np.where(clean == features.labels, attacked, clean)[None],
        margin[None],
        np.zeros((1, n), np.int64),
    )
    image, nothing = np.zeros((0, 1, 4, 4), np.float32), np.zeros(0, np.int64)
    return AuditResult(plan, outcomes, Examples(image, image, nothing, nothing), {})


def test_features_that_are_gaussian_are_predicted() -> None:
    n, samples, many = 2000, 20000, 400_000
    fitted = fit(features_of(gaussian, n), seed=1, samples=samples)
    generator = np.random.default_rng(7)
    for label in range(3):
        drawn = CENTRES[label] + gaussian(generator, label, many)
        clean, moved = (each @ WEIGHT.T + BIAS for each in (drawn, drawn - MOVES[label]))
        wrong = clean.argmax(1) != label
        for truth, found in (
            (wrong.mean(), fitted.along.clean[label]),
            ((wrong | (moved.argmax(1) != label)).mean(), fitted.along.robust[label]),
        ):
            # Estimating the moments costs less than counting as many errors would; two halves of Monte Carlo come on top.
            error = np.sqrt(truth * (1 - truth) * (1 / n + 1 / (2 * samples) + 1 / many))
            assert 0.03 < truth < 0.6
            assert abs(found - truth) < 3 * error
    assert (fitted.along.at_least()[0] <= fitted.along.clean + 0.01).all()
    assert (np.nansum(fitted.along.pairs.robust, 1) >= fitted.along.robust - 0.01).all()


def test_gaussian_features_fit_well_and_others_do_not() -> None:
    verdicts = {}
    for draw in (gaussian, bimodal, heavy):
        features = features_of(draw, 400)
        explanation = explain(features, audit_of(features), samples=8000)
        said = "\n".join(lines(explanation))
        verdicts[draw.__name__] = {explanation.fits(explanation.clean), explanation.fits(explanation.robust)}
        assert said.startswith("EXPERIMENTAL")
        assert "nothing is trained or chosen by them" in said
        assert ("DOES NOT FIT for clean errors" in said) == (draw is not gaussian)
        assert ("fits well for robust errors" in said) == (draw is gaussian)
    assert verdicts == {"gaussian": {"well"}, "bimodal": {"badly"}, "heavy": {"badly"}}


def test_what_is_measured_is_the_audit() -> None:
    features = features_of(gaussian, 100)
    audit = audit_of(features)
    explanation = explain(features, audit, samples=2000)
    table = audit.table()
    assert explanation.robust.measured == pytest.approx(1 - table.robust)
    assert explanation.clean.low == pytest.approx(1 - table.clean_high)
    assert explanation.robust.high == pytest.approx(1 - table.robust_low)
    assert explanation.attack_broke == pytest.approx(explanation.audit_broke)  # the audit is made of the features
    assert explanation.robust.worst[0] == (table.weakest,)
    text = json.dumps(as_json(explanation), allow_nan=False)
    read = json.loads(text)
    assert read["experimental"] is True
    assert read["robust"]["predicted"] == explanation.robust.predicted.tolist()
    assert read["fitted"]["along"]["pairs"]["clean"][0][0] is None
    assert read["summary"]["clean"]["fits"] == explanation.fits(explanation.clean)
    with pytest.raises(ValueError, match="their labels differ"):
        explain(features_of(gaussian, 50), audit)


def test_closed_forms_of_a_pair() -> None:
    features = features_of(gaussian, 200)
    fitted = fit(features, samples=1000)
    own = features.clean[features.labels == 1]
    gone = features.attacked[features.labels == 1]
    direction, bias = WEIGHT[1] - WEIGHT[2], BIAS[1] - BIAS[2]
    fall = (own - gone).mean(0) @ direction
    assert fitted.radius[1, 2] == pytest.approx(fall)
    assert fitted.attacked_sd[1, 2] == pytest.approx(fitted.sd[1, 2])  # all images of the class moved alike
    along, along_robust, isotropic, isotropic_robust = [], [], [], []
    for half in (own[::2], own[1::2]):
        margin = half @ direction + bias
        spread = np.sqrt(half.var(0, ddof=1).mean()) * np.linalg.norm(direction)
        along.append(ndtr(-margin.mean() / margin.std(ddof=1)))
        along_robust.append(ndtr((fall - margin.mean()) / margin.std(ddof=1)))
        isotropic.append(ndtr(-margin.mean() / spread))
        isotropic_robust.append(ndtr((fall - margin.mean()) / spread))
    assert fitted.along.pairs.clean[1, 2] == pytest.approx(np.mean(along))
    assert fitted.along.pairs.robust[1, 2] == pytest.approx(np.mean(along_robust))
    assert fitted.isotropic.pairs.clean[1, 2] == pytest.approx(np.mean(isotropic))
    assert fitted.isotropic.pairs.robust[1, 2] == pytest.approx(np.mean(isotropic_robust))


def test_two_classes_through_the_layer_are_the_one_pair() -> None:
    three = features_of(gaussian, 300)
    keep = three.labels < 2
    features = Features(
        three.clean[keep], three.attacked[keep], three.labels[keep], WEIGHT[:2], BIAS[:2], three.names[:2]
    )
    fitted = fit(features, samples=40000)
    for predicted in (fitted.along, fitted.isotropic):
        pairs = predicted.at_least()
        assert predicted.clean == pytest.approx(pairs[0], abs=4 * 0.5 / np.sqrt(80000))
        assert predicted.robust == pytest.approx(pairs[1], abs=4 * 0.5 / np.sqrt(80000))


def test_an_attack_that_repairs_earns_nothing() -> None:
    features = features_of(gaussian, 100)
    repaired = Features(
        features.clean, features.clean + MOVES[features.labels], features.labels, WEIGHT, BIAS, features.names
    )
    fitted = fit(repaired, samples=1000)
    away = fitted.radius < 0
    assert away.sum() >= 3
    assert np.array_equal(fitted.along.pairs.robust[away], fitted.along.pairs.clean[away])


def test_the_same_seed_gives_the_same_prediction() -> None:
    features = features_of(gaussian, 50)
    first, again, other = (fit(features, seed, 3000).along.clean for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_test_of_normality_is_one_of_5_per_cent() -> None:
    from scipy.stats import kstest

    values = np.random.default_rng(0).normal(3, 2, size=(40, 4000))
    found = departure(values)
    assert 0.04 < found.significant.mean() < 0.06  # 3 standard errors of 4000 draws are 0.01
    column = values[:, 5]
    assert found.distance[5] == pytest.approx(kstest(column, "norm", (column.mean(), column.std(ddof=1))).statistic)
    skewed = departure(np.random.default_rng(1).exponential(size=(200, 50)))
    assert skewed.departs.all()
    same = departure(np.ones((10, 2)))
    assert np.isnan(same.distance).all()
    assert not same.departs.any()


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3))
    return Normalized(layers, (0.5,), (0.25,)).eval()


def images(n: int = 30, seed: int = 0) -> cw.ClassData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(99))
    pixels = 0.4 * pattern[labels] + 0.6 * torch.rand(n, 1, 4, 4, generator=generator)
    return cw.ClassData(pixels, labels, ("ant", "bee", "cat"))


def test_features_are_what_enters_the_last_linear_layer() -> None:
    model, data = network(), images()
    model.train()
    found = capture(model, data, linf(0.1), PGD(steps=3), batch_size=8)
    x, y = data.batch(slice(None))
    assert found.logits() == pytest.approx(model(x).detach().numpy(), abs=1e-5)
    assert found.clean == pytest.approx(model.net[:3]((x - 0.5) / 0.25).detach().numpy(), abs=1e-6)  # type: ignore[index, operator]
    losses = [nn.functional.cross_entropy(torch.from_numpy(found.logits(each)), y).item() for each in (False, True)]
    assert losses[1] > losses[0] + 0.05
    assert model.training
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    whole = capture(model, data, linf(0.1), PGD(steps=3))
    assert whole.attacked == pytest.approx(found.attacked, abs=1e-5)  # batches make no difference


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1)),
        nn.Sequential(
            nn.Flatten(), nn.Linear(16, 12), nn.Unflatten(1, (3, 2, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
    ],
)
def test_a_network_without_a_last_linear_layer_is_refused(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"no last torch\.nn\.Linear whose output are its logits"):
        last_linear(model.eval(), torch.rand(2, 1, 4, 4))
    assert not any(each._forward_hooks for each in model.modules())


def test_bad_features_are_refused() -> None:
    good = features_of(gaussian, 8)
    with pytest.raises(ValueError, match="attacked has shape"):
        Features(good.clean, good.attacked[:-1], good.labels, WEIGHT, BIAS, good.names)
    with pytest.raises(ValueError, match="clean holds values that are not finite"):
        Features(np.where(good.clean > 0, np.nan, 0), good.attacked, good.labels, WEIGHT, BIAS, good.names)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        Features(good.clean, good.attacked, good.labels + 1, WEIGHT, BIAS, good.names)
    with pytest.raises(ValueError, match="class 'ant' has 7 images in the audit and a fit needs 8"):
        fit(features_of(gaussian, 7))
    with pytest.raises(ValueError, match="samples 0 must be at least 1"):
        fit(good, samples=0)
    dead = Features(np.ones_like(good.clean), good.attacked, good.labels, WEIGHT, BIAS, good.names)
    with pytest.raises(ValueError, match="features of class 'ant' are the same for all its images"):
        fit(dead)


@pytest.fixture
def run(tmp_path: Path) -> cw.Run:
    config = cw.TrainConfig(
        split=Split(at_least=4),
        model=MLP(hidden=(8,)),
        threat=linf("0.05"),
        adversary=PGD(steps=1),
        validation_attack=PGD(steps=1),
        epochs=2,
        batch_size=12,
        keep_every=1,
    )
    dataset = cw.Dataset("toy", train=images(60), test=lambda: images(48, seed=1))
    return cw.train(config, tmp_path / "run", data=dataset, progress=Silent())


def test_an_audited_run_is_explained(run: cw.Run, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="has no finished audit of its selected checkpoint to explain: classwise audit"
    ):
        explained(run)
    how = {"attacks": "pgd-3", "progress": Silent()}
    audit = run.audit(**how)
    two = run.audit(threat=[linf("0.02"), linf("0.2")], **how)
    other = "1" if run.checkpoint()[0].name == "2" else "2"
    of_other = run.audit(checkpoint=other, **how)
    assert audit.folder is not None
    assert two.folder is not None
    first = explained(run, audit=audit.folder, samples=500, progress=Silent())
    assert first.audit == audit.folder.name
    assert first.images == 48
    assert first.dimensions == 8
    assert first.robust.measured == pytest.approx(1 - audit.table().robust)
    wide = explained(run, audit=two.folder, radius=1, samples=500, progress=Silent())
    assert wide.threat == "linf 0.2"
    assert wide.robust.measured == pytest.approx(1 - two.table(1).robust)
    assert wide.attack_broke > first.attack_broke
    newest = explained(run, samples=500, progress=Silent())
    assert newest.audit == two.folder.name
    with pytest.raises(ValueError, match="radius 2 is not there: the audit has 2"):
        explained(run, radius=2, progress=Silent())
    with pytest.raises(ValueError, match="is no audit of the selected checkpoint"):
        explained(run, audit=of_other.folder, progress=Silent())
    one = explained(run, checkpoint=other, samples=500, progress=Silent())
    assert one.clean.measured == pytest.approx(1 - of_other.table().clean)


def test_an_audit_of_other_images_is_refused(run: cw.Run) -> None:
    run.audit(attacks="pgd-1", progress=Silent())
    other = images(48, seed=2)
    changed = cw.Run(run.path, dataset=cw.Dataset("toy", train=images(60), test=lambda: other))
    with pytest.raises(ValueError, match="other images than this run's test set"):
        explained(changed, progress=Silent())


@pytest.mark.slow
def test_digits_from_their_folder(tmp_path: Path) -> None:
    trained = cw.train(cw.recipe("digits-pgd-at", epochs=10), out=tmp_path / "at", progress=Silent())
    audit = trained.audit(progress=Silent())
    moved = shutil.copytree(trained.path, tmp_path / "moved")
    explanation = explained(moved, progress=Silent())
    assert explanation.images == audit.plan.samples
    assert explanation.dimensions == 128
    # Made by the same kind of attack as the audit's, so that both break about as much.
    assert explanation.attack_broke == pytest.approx(explanation.audit_broke, abs=0.03)
    assert explanation.clean.rank_correlation(explanation.clean.predicted) > 0.5
    assert explanation.clean.mean_difference(explanation.clean.predicted) < 0.1
    said = "\n".join(lines(explanation))
    assert all(name in said for name in explanation.clean.names)
    json.dumps(as_json(explanation), allow_nan=False)
