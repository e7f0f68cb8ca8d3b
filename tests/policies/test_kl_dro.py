"""KL-DRO: worst-case class weights, their limits and their published variant, over class counts and batches."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, ClassPolicy, TrainConfig, linf
from classwise.attacks import PGD
from classwise.configuration import from_plain, from_yaml, to_plain
from classwise.data import Batch, NoAugmentation, Resident
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import KLDRO, Uniform
from classwise.policies.base import all_knobs
from classwise.training import Hardware, Runtime
from classwise.training.meter import Meter
from classwise.training.step import Network, Stepper

CLASSES = [2, 3, 10, 43, 200]
PUBLISHED: dict[str, Any] = {"scores": "sample-sums", "missing": "minus-one", "normaliser": "all"}
VARIANTS: list[dict[str, Any]] = [
    {"scores": scores, "missing": missing, "normaliser": normaliser}
    for scores in ("class-means", "sample-sums")
    for missing in ("exclude", "minus-one")
    for normaliser in ("present", "all")
]
FROM_SCRATCH: dict[str, Any] = {"tau": 0, "stage_epochs": (100, 150), "stage_taus": (0.25, 0.5)}


def statistics(scores: Tensor, count: Tensor, epoch: int = 0) -> dict[str, Tensor]:
    return {"epoch": torch.tensor(epoch), "batch_margin": scores, "batch_count": count}


def drawn(classes: int, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Class means of a margin in [-1, 1] and class counts of a batch; 0 where a class is absent."""
    generator = torch.Generator().manual_seed(1000 * classes + 10 * samples + seed)
    count = torch.bincount(torch.randint(classes, (samples,), generator=generator), minlength=classes).double()
    return (2 * torch.rand(classes, dtype=torch.float64, generator=generator) - 1) * (count > 0), count


def weights(policy: KLDRO, scores: Any, count: Any, epoch: int = 0) -> Tensor:
    given = [torch.as_tensor(each, dtype=torch.float64) for each in (scores, count)]
    found, _ = policy.on_batch({}, statistics(given[0], given[1], epoch))
    assert found is not None
    return found


def stepped(policy: ClassPolicy, objective: Any, classes: int, labels: Tensor, epoch: int) -> list[Tensor]:
    """The weights of a small net after one step of the loop on a batch with these labels."""
    plan = TrainConfig(
        objective=objective,
        policy=policy,
        threat=linf("0.1"),
        adversary=PGD(steps=2, relative_step=0.5),
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    torch.manual_seed(classes)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    runtime = Runtime(plan.hardware)
    images = ClassData(torch.rand(len(labels), 1, 4, 4), labels, tuple(f"class {i}" for i in range(classes)))
    source = Resident(images, NoAugmentation(), runtime.device)
    attack, mixing = (torch.Generator().manual_seed(seed) for seed in range(2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    stepper = Stepper(plan, runtime, Network(net, net), optimizer, source, attack, mixing)
    state = policy.init(classes)
    knobs = all_knobs(policy, state, classes, runtime.device)
    batch = Batch(images.images, labels, labels, torch.arange(len(labels)), len(labels), slice(None))
    stepper(batch, knobs, state, epoch, Meter([], runtime))
    return [weight.detach().clone() for weight in net.parameters()]


class TestBaseMethod:
    @pytest.mark.parametrize("samples", [1, 24])
    @pytest.mark.parametrize("classes", CLASSES)
    @pytest.mark.parametrize("objective", [AdversarialTraining(), Trades()], ids=["at", "trades"])
    def test_without_a_ball_a_step_is_that_of_the_base_method(self, objective: Any, classes: int, samples: int) -> None:
        """Bit for bit, also where classes are missing from the batch, in every variant and before the first stage."""
        labels = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(classes))
        if samples == 24:
            labels[labels == 1] = 0  # class 1 is always missing
        base = stepped(Uniform(), objective, classes, labels, 99)
        for policy in [KLDRO(**FROM_SCRATCH), *(KLDRO(tau=0, **variant) for variant in VARIANTS)]:
            ours = stepped(policy, objective, classes, labels, 99)
            assert all(torch.equal(one, other) for one, other in zip(ours, base, strict=True))
        acting = stepped(KLDRO(**FROM_SCRATCH), objective, classes, labels, 100)
        assert torch.equal(acting[0], base[0]) == (len(set(labels.tolist())) == 1)

    @pytest.mark.parametrize("classes", CLASSES)
    @pytest.mark.parametrize("tau", [0.01, 0.5, math.inf])
    def test_a_batch_of_one_sample_is_the_base_method(self, tau: float, classes: int) -> None:
        scores, count = drawn(classes, 1)
        assert torch.equal(weights(KLDRO(tau=tau), scores, count), count)  # weight 1 for the class that is there

    @pytest.mark.parametrize("classes", CLASSES)
    def test_equal_scores_are_the_base_method(self, classes: int) -> None:
        _, count = drawn(classes, 24)
        present = (count > 0).double()
        for tau in (0.5, math.inf):
            found = weights(KLDRO(tau=tau), 0.3 * present, count)
            assert found.tolist() == pytest.approx(present.tolist(), abs=1e-12)

    def test_a_small_ball_is_near_it(self) -> None:
        found = weights(KLDRO(tau=1e-8), [0.1, 0.9, 0.4], [1, 0, 1])
        assert found.tolist() == pytest.approx([1, 0, 1], abs=1e-3)


class TestBall:
    @pytest.mark.parametrize("direction", ["reverse", "forward"])
    @pytest.mark.parametrize("samples", [12, 500])
    @pytest.mark.parametrize("classes", CLASSES)
    def test_the_weights_lie_on_its_border_and_rise_with_the_score(
        self, classes: int, samples: int, direction: Any
    ) -> None:
        for seed in range(3):
            scores, count = drawn(classes, samples, seed)
            for tau, kind in ((0.05, "class-means"), (0.5, "sample-sums")):
                policy = KLDRO(tau=tau, scores=kind, direction=direction)  # type: ignore[arg-type]
                found, present = weights(policy, scores, count), count > 0
                number = int(present.sum())
                assert number >= 2
                assert float(found[~present].sum()) == 0
                q = found[present] / number
                assert float(q.min()) >= 0
                assert float(q.sum()) == pytest.approx(1, abs=1e-12)
                logs = (number * q).clamp_min(1e-300).log()
                reached = float(-logs.mean() if direction == "reverse" else (q * logs).sum())
                limit = min(tau, math.log(number)) if direction == "forward" else tau
                assert reached == pytest.approx(limit, abs=1e-9)
                score = (scores * count if kind == "sample-sums" else scores)[present]
                by_score = q[score.argsort()]
                rises = by_score.diff() > 0 if direction == "reverse" else by_score.diff() >= 0  # may underflow
                assert bool(rises.all())

    @pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: "+".join(each.values()))
    @pytest.mark.parametrize("classes", CLASSES)
    def test_optimality(self, classes: int, variant: dict[str, Any]) -> None:
        """At the optimum of the reverse ball 1/q falls linearly with the score: 1/q = (nu - a) const."""
        scores, count = drawn(classes, 12)
        present = count > 0
        found = weights(KLDRO(tau=0.3, **variant), scores, count)
        a = torch.where(present, scores, -1.0) * (count if variant["scores"] == "sample-sums" else 1)
        part = present if variant["missing"] == "exclude" else torch.ones_like(present)
        factor = int(present.sum()) if variant["normaliser"] == "present" else classes
        q = found[part] / factor
        assert float(q.sum()) == pytest.approx(1, abs=1e-12)
        assert float(-(int(part.sum()) * q).log().mean()) == pytest.approx(0.3, abs=1e-9)
        inverse, score = 1 / q, a[part]
        worst, best = int(score.argmax()), int(score.argmin())
        slope = (inverse[best] - inverse[worst]) / (score[best] - score[worst])
        line = inverse[worst] + slope * (score - score[worst])
        assert torch.allclose(inverse, line, rtol=1e-9, atol=0)
        assert float(found[~part].sum()) == 0

    def test_an_absent_class_does_not_matter_whatever_its_score(self) -> None:
        for tau in (0.5, math.inf):
            for kind in ("class-means", "sample-sums"):
                policy = KLDRO(tau=tau, scores=kind)
                found = [weights(policy, [-0.5, 0.3, score], [4, 4, 0]) for score in (-9.0, 0.0, 9.0, float("nan"))]
                assert all(torch.equal(each, found[0]) for each in found)

    def test_in_the_published_sums_an_absent_class_outranks_every_negative_margin(self) -> None:
        """Its weight helps no sample; the recommended definition leaves it out, minus one puts it last."""
        scores, count = [-0.5, -0.3, 0.0], [4, 1, 0]
        published = weights(KLDRO(**PUBLISHED), scores, count)
        assert published.argsort().tolist() == [0, 1, 2]
        assert float(published[2]) > 1.5
        last = weights(KLDRO(missing="minus-one", normaliser="all"), scores, count)
        assert last.argsort().tolist() == [2, 0, 1]
        ours = weights(KLDRO(), scores, count)
        assert float(ours[2]) == 0
        assert float(ours.mean()) == pytest.approx(2 / 3)

    @pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: "+".join(each.values()))
    @pytest.mark.parametrize("classes", CLASSES)
    def test_permuting_the_classes_permutes_the_weights(self, classes: int, variant: dict[str, Any]) -> None:
        scores, count = drawn(classes, 12)
        order = torch.randperm(classes, generator=torch.Generator().manual_seed(1))
        for tau in (0.2, math.inf):
            policy = KLDRO(tau=tau, **variant)
            straight, permuted = weights(policy, scores, count), weights(policy, scores[order], count[order])
            assert torch.allclose(straight[order], permuted, rtol=0, atol=1e-9)


class TestGroupDRO:
    def test_all_weight_goes_to_the_worst_class_and_ties_share(self) -> None:
        policy = KLDRO(tau=math.inf)
        assert weights(policy, [0.1, 0.7, -0.2], [3, 1, 2]).tolist() == [0, 3, 0]
        assert weights(policy, [0.7, 0.7, -0.2, 0.9], [3, 1, 2, 0]).tolist() == [1.5, 1.5, 0, 0]
        assert weights(KLDRO(tau=math.inf, scores="sample-sums"), [0.3, 0.7], [3, 1]).tolist() == [2, 0]
        assert weights(KLDRO(tau=math.inf, **PUBLISHED), [-0.3, -0.7, 0], [3, 1, 0]).tolist() == [0, 0, 3]

    @pytest.mark.parametrize("classes", CLASSES)
    @pytest.mark.parametrize("direction", ["reverse", "forward"])
    def test_it_is_the_limit_of_large_balls(self, direction: Any, classes: int) -> None:
        scores, count = drawn(classes, 24)
        limit = weights(KLDRO(tau=math.inf, direction=direction), scores, count)
        near = weights(KLDRO(tau=30, direction=direction), scores, count)
        assert torch.allclose(limit, near, rtol=0, atol=1e-6)
        present = count > 0
        value = float((limit * scores).sum() / present.sum())
        assert value == pytest.approx(float(scores[present].max()), abs=1e-12)  # no distribution is worse

    def test_a_score_that_is_no_number_shows(self) -> None:
        assert weights(KLDRO(tau=math.inf), [0.1, float("nan")], [1, 1]).isnan().all()

    def test_it_is_written_as_yaml_writes_infinity(self, tmp_path: Any) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("policy: {name: kl-dro, tau: .inf}\n", encoding="utf-8")
        assert from_yaml(TrainConfig, path).policy == KLDRO(tau=math.inf)
        assert from_plain(ClassPolicy, to_plain(KLDRO(tau=math.inf))) == KLDRO(tau=math.inf)


class TestStages:
    def test_radius_by_epoch(self) -> None:
        policy = KLDRO(**FROM_SCRATCH)
        epochs = (0, 99, 100, 149, 150, 199)
        assert [policy.tau_at(epoch) for epoch in epochs] == [0, 0, 0.25, 0.25, 0.5, 0.5]
        scores, count = drawn(10, 50)
        assert policy.on_batch({}, statistics(scores, count, 99))[0] is None
        for epoch in (100, 149, 150, 400):
            plain = weights(KLDRO(tau=policy.tau_at(epoch)), scores, count)
            assert torch.equal(weights(policy, scores, count, epoch), plain)

    def test_a_ball_may_also_shrink_to_none(self) -> None:
        policy = KLDRO(tau=math.inf, stage_epochs=(1, 2), stage_taus=(0.1, 0))
        scores, count = drawn(3, 20)
        assert float(weights(policy, scores, count, 0).max()) == 3
        assert 1 < float(weights(policy, scores, count, 1).max()) < 3
        assert policy.on_batch({}, statistics(scores, count, 2))[0] is None

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"tau": -0.1}, "tau -0.1 must be at least 0"),
            ({"tau": float("nan")}, "tau nan must be at least 0"),
            ({"stage_epochs": (3,), "stage_taus": (-1,)}, "stage_taus -1 must be at least 0"),
            ({"stage_epochs": (3,), "stage_taus": (float("nan"),)}, "stage_taus nan must be"),
            ({"stage_epochs": (3,)}, "stage_epochs has 1 entries, stage_taus 0: give one radius for each epoch"),
            ({"stage_taus": (1.0,)}, "stage_epochs has 0 entries, stage_taus 1"),
            ({"stage_epochs": (0,), "stage_taus": (1.0,)}, "must rise and be at least 1: tau holds from epoch 0 on"),
            ({"stage_epochs": (5, 5), "stage_taus": (1.0, 2.0)}, "must rise"),
        ],
    )
    def test_wrong_settings_are_refused(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            KLDRO(**fields)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: "+".join(each.values()))
@pytest.mark.parametrize("tau", [0.5, math.inf])
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_no_class_statistic_is_read_back_from_the_device(direction: Any, tau: float, variant: dict[str, Any]) -> None:
    """Tensors without data: any look at a value raises."""
    nothing = torch.empty(10, dtype=torch.float64, device="meta")
    policy = KLDRO(tau=tau, direction=direction, **variant)
    found, _ = policy.on_batch({}, statistics(nothing, nothing))
    assert found is not None
    assert found.is_meta
    assert found.shape == (10,)


@pytest.mark.parametrize(
    ("score", "measure"), [("margin", "margin"), ("cross-entropy", "cross_entropy"), ("error", "error")]
)
def test_it_observes_its_score_and_nothing_else(score: Any, measure: str) -> None:
    policy = KLDRO(score=score)
    assert policy.observes() == {f"batch_{measure}", "batch_count"}
    scores, count = drawn(10, 40)
    stats = {"epoch": torch.tensor(0), f"batch_{measure}": scores, "batch_count": count}
    found, _ = policy.on_batch({}, stats)
    assert found is not None
    assert torch.equal(found, weights(KLDRO(), scores, count))
