"""CFA's calibrated policies: coefficients by formula, neutral points, absent classes, both ways to count."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, ClassPolicy, TrainConfig, linf
from classwise.attacks import PGD
from classwise.data import Batch, NoAugmentation, Resident
from classwise.objectives import AdversarialTraining, Mart, Natural, Trades, VarianceRegularised
from classwise.policies import CalibratedRadius, CalibratedRegularisation, Combined, State, Uniform
from classwise.policies.base import all_knobs
from classwise.training import Hardware, Runtime
from classwise.training.meter import Meter
from classwise.training.step import Network, Stepper

CLASSES = [2, 3, 10, 43, 200]
BOTH = [CalibratedRadius, CalibratedRegularisation]


def statistics(epoch: int, robust: Any, count: Any) -> dict[str, Tensor]:
    given = [torch.as_tensor(each, dtype=torch.float64) for each in (robust, count)]
    return {"epoch": torch.tensor(epoch), "train_robust": given[0], "train_count": given[1]}


def drawn(classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Accuracies and counts of an epoch; the last class has no sample."""
    generator = torch.Generator().manual_seed(classes + 1000 * seed)
    count = torch.randint(1, 50, (classes,), generator=generator).double()
    count[-1] = 0
    return torch.rand(classes, dtype=torch.float64, generator=generator) * (count > 0), count


def stepped(
    policy: ClassPolicy, state: State, objective: Any, classes: int, labels: Tensor
) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one step of the loop, in float64, on a batch with these labels."""
    plan = TrainConfig(
        objective=objective,
        policy=policy,
        threat=linf("0.1"),
        adversary=PGD(steps=2, relative_step=0.5),
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    torch.manual_seed(classes)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).double()
    runtime = Runtime(plan.hardware)
    images = ClassData(torch.rand(len(labels), 1, 4, 4), labels, tuple(f"class {i}" for i in range(classes)))
    source = Resident(images, NoAugmentation(), runtime.device)
    attack, mixing = (torch.Generator().manual_seed(seed) for seed in range(2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    stepper = Stepper(plan, runtime, Network(net, net), optimizer, source, attack, mixing)
    knobs = all_knobs(policy, state, classes, runtime.device)
    batch = Batch(images.images.double(), labels, labels, torch.arange(len(labels)), len(labels), slice(None))
    meter = Meter([], runtime)
    stepper(batch, knobs, state, 20, meter)
    gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
    assert len(gradients) == 2
    return meter.finish()[1]["loss"], gradients


def some_labels(classes: int, samples: int) -> Tensor:
    """Without the last class, where the batch is large enough to have a choice."""
    generator = torch.Generator().manual_seed(classes)
    return torch.randint(max(1, classes - 1), (samples,), generator=generator)


class TestNeutral:
    @pytest.mark.parametrize("samples", [1, 24])
    @pytest.mark.parametrize("classes", CLASSES)
    def test_calibrated_regularisation_is_trades_over_one_plus_beta(self, classes: int, samples: int) -> None:
        """Where offset + accuracy = 1: the step on divided TRADES bit for bit, and TRADES / (1 + beta)."""
        policy, labels = CalibratedRegularisation(offset=0.25, beta=4), some_labels(classes, samples)
        state = policy.on_epoch(policy.init(classes), statistics(12, [0.75] * classes, [5] * classes))
        assert all(torch.equal(knob, torch.ones_like(knob)) for knob in policy.knobs(state).values())
        loss, gradients = stepped(policy, state, Trades(beta=4, divided=True), classes, labels)
        same = stepped(Uniform(), {}, Trades(beta=4, divided=True), classes, labels)
        assert loss == same[0]
        assert all(torch.equal(one, other) for one, other in zip(gradients, same[1], strict=True))
        plain = stepped(Uniform(), {}, Trades(beta=4), classes, labels)
        assert loss == pytest.approx(plain[0] / 5, rel=1e-12)
        for one, other in zip(gradients, plain[1], strict=True):
            assert torch.allclose(one, other / 5, rtol=1e-10, atol=1e-14)

    @pytest.mark.parametrize("objective", [AdversarialTraining(), Trades()], ids=["at", "trades"])
    @pytest.mark.parametrize("samples", [1, 24])
    @pytest.mark.parametrize("classes", CLASSES)
    def test_calibrated_radius_is_the_base_method(self, classes: int, samples: int, objective: Any) -> None:
        policy, labels = CalibratedRadius(offset=0.25), some_labels(classes, samples)
        state = policy.on_epoch(policy.init(classes), statistics(12, [0.75] * classes, [5] * classes))
        loss, gradients = stepped(policy, state, objective, classes, labels)
        base = stepped(Uniform(), {}, objective, classes, labels)
        assert loss == base[0]
        assert all(torch.equal(one, other) for one, other in zip(gradients, base[1], strict=True))
        state = policy.on_epoch(state, statistics(13, [0.0] * classes, [5] * classes))
        assert stepped(policy, state, objective, classes, labels)[0] < loss  # a quarter of the radius is easier

    @pytest.mark.parametrize("made", BOTH)
    def test_before_the_first_epoch_with_settings(self, made: type[ClassPolicy]) -> None:
        policy = made(begin=3)  # type: ignore[call-arg]
        state = policy.init(3)
        for epoch in range(3):
            assert all(torch.equal(knob, torch.ones_like(knob)) for knob in policy.knobs(state).values()), epoch
            state = policy.on_epoch(state, statistics(epoch, [0.1, 0.2, 0.9], [5, 5, 5]))
        knobs = policy.knobs(state)
        assert all(float(knob.std()) > 0.05 for knob in knobs.values())
        assert knobs.keys() == policy.steered()


class TestCoefficients:
    @pytest.mark.parametrize("classes", CLASSES)
    @pytest.mark.parametrize(("offset", "beta"), [(0.5, 6.0), (0.0, 1.0), (0.9, 0.25)])
    def test_formula(self, classes: int, offset: float, beta: float) -> None:
        """(CE + beta_c KL) / (1 + beta_c), beta_c = (offset + accuracy) beta, from the divided terms and the knobs."""
        policy = CalibratedRegularisation(offset=offset, begin=0, beta=beta)
        accuracy, count = drawn(classes)
        state = policy.on_epoch(policy.init(classes), statistics(0, accuracy, count))
        knobs = policy.knobs(state)
        for c in range(classes):
            beta_c = (offset + float(accuracy[c])) * beta if count[c] > 0 else beta
            assert float(knobs["label"][c]) / (1 + beta) == pytest.approx(1 / (1 + beta_c), rel=1e-12)
            assert float(knobs["robust"][c]) * beta / (1 + beta) == pytest.approx(beta_c / (1 + beta_c), rel=1e-12)

    @pytest.mark.parametrize("classes", CLASSES)
    def test_the_loss_of_a_step(self, classes: int) -> None:
        """One hard class alone in the batch: its step is that of TRADES with its own coefficient."""
        policy, accuracy = CalibratedRegularisation(begin=0), 0.3 * drawn(classes)[0]
        state = policy.on_epoch(policy.init(classes), statistics(0, accuracy, [5] * classes))
        labels = torch.full((4,), classes // 2)
        own = Trades(beta=6 * (0.5 + float(accuracy[classes // 2])), divided=True)
        ours, gradients = stepped(policy, state, Trades(divided=True), classes, labels)
        loss, expected = stepped(Uniform(), {}, own, classes, labels)
        assert ours == pytest.approx(loss, rel=1e-6)  # knobs are float32
        for one, other in zip(gradients, expected, strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-8)
        assert loss > 1.1 * stepped(Uniform(), {}, Trades(divided=True), classes, labels)[0]  # and another one

    @pytest.mark.parametrize("counts", ["true", "balanced"])
    @pytest.mark.parametrize("made", BOTH)
    @pytest.mark.parametrize("classes", CLASSES)
    def test_permuting_the_classes_permutes_the_knobs(self, classes: int, made: Any, counts: str) -> None:
        policy, order = made(begin=0, counts=counts), torch.randperm(classes)
        (accuracy, count), (second, other) = drawn(classes), drawn(classes, seed=1)
        states = [policy.init(classes), policy.init(classes)]
        for epoch, (robust, seen) in enumerate([(accuracy, count), (second, other)]):
            states[0] = policy.on_epoch(states[0], statistics(epoch, robust, seen))
            states[1] = policy.on_epoch(states[1], statistics(epoch, robust[order], seen[order]))
        straight, permuted = (policy.knobs(state) for state in states)
        assert all(torch.allclose(straight[name][order], permuted[name], rtol=0, atol=1e-12) for name in straight)

    @pytest.mark.parametrize("counts", ["true", "balanced"])
    @pytest.mark.parametrize("made", BOTH)
    @pytest.mark.parametrize("classes", CLASSES)
    def test_a_class_absent_from_an_epoch_keeps_its_knobs(self, classes: int, made: Any, counts: str) -> None:
        policy = made(begin=0, counts=counts)
        accuracy, count = drawn(classes)
        first = policy.on_epoch(policy.init(classes), statistics(0, accuracy.flip(0), count.flip(0)))
        second = policy.on_epoch(first, statistics(1, accuracy, count))
        before, after = policy.knobs(first), policy.knobs(second)
        for name, knob in after.items():
            assert float(knob[-1]) == float(before[name][-1]) != 1
            assert float(before[name][0]) == 1  # absent from the first epoch: as it began
            assert knob.isfinite().all()


class TestCounts:
    @pytest.mark.parametrize("classes", CLASSES)
    def test_balanced_divides_the_correct_samples_by_an_equal_share(self, classes: int) -> None:
        accuracy, count = drawn(classes)
        policy = CalibratedRadius(begin=0, offset=0.3, counts="balanced")
        found = policy.on_epoch(policy.init(classes), statistics(0, accuracy, count))["radius"]
        correct, share = accuracy * count, float(count.sum()) / classes
        assert found[:-1].tolist() == pytest.approx((0.3 + correct[:-1] / share).tolist(), rel=1e-12)

    def test_both_agree_where_the_classes_are_balanced(self) -> None:
        for made in BOTH:
            knobs = []
            for counts in ("true", "balanced"):
                policy = made(begin=0, counts=counts)
                state = policy.on_epoch(policy.init(3), statistics(0, [0.1, 0.5, 0.9], [7, 7, 7]))
                knobs.append(torch.cat(list(policy.knobs(state).values())))
            assert torch.equal(*knobs)


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"offset": -0.1}, "offset -0.1 and begin 10 must be at least 0"),
            ({"offset": float("nan")}, "offset nan"),
            ({"begin": -1}, "begin -1 must be at least 0"),
        ],
    )
    @pytest.mark.parametrize("made", BOTH)
    def test_settings_out_of_range(self, made: Any, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            made(**fields)

    @pytest.mark.parametrize("beta", [0, -1, float("inf"), float("nan")])
    def test_a_coefficient_that_leaves_nothing_to_calibrate(self, beta: float) -> None:
        with pytest.raises(ValueError, match="must be positive and finite: give that of the objective"):
            CalibratedRegularisation(beta=beta)

    def test_objectives_it_makes_no_sense_with(self) -> None:
        policy = CalibratedRegularisation()
        for objective in (AdversarialTraining(), Natural()):
            assert "no robust term with a coefficient beta" in policy.refusal(objective)
        assert policy.refusal(Trades()) == policy.refusal(Trades(divided=True)) == ""
        assert policy.refusal(Mart(beta=6)) == ""
        penalised = VarianceRegularised(base=Trades(beta=5))  # the coefficient of what it wraps counts
        assert policy.refusal(penalised) == "its beta is 5, that of the policy 6.0: set both to the same value"
        assert CalibratedRegularisation(beta=5).refusal(penalised) == ""
        assert "no robust term" in policy.refusal(VarianceRegularised())

    def test_when_a_configuration_is_built(self) -> None:
        with pytest.raises(
            ValueError, match=r"'calibrated-regularisation' makes no sense with objective 'trades': its beta is 1"
        ):
            TrainConfig(objective=Trades(beta=1), policy=Combined(members=(CalibratedRegularisation(),)))
        with pytest.raises(
            ValueError, match="sets the multiplier of the robust term, which neither objective 'pgd-at'"
        ):
            TrainConfig(objective=AdversarialTraining(), policy=CalibratedRegularisation())
