"""FAB on linear models, where the nearest misclassified image is known, and what it promises to its caller."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from classwise.attacks import hyperplane
from classwise.attacks.fab import FAB
from classwise.attacks.stepwise import Rows, first_rows, stepped
from classwise.configuration import from_plain, to_plain
from classwise.randomness import GeneratorNoise, KeyedNoise, Noise
from classwise.theory.linear import boxed_robust_margin
from classwise.threat import ThreatModel, l1, l2, linf

THREATS = [linf("0.1"), l2(0.4), l1(1.5)]
ONTO = 1 + 1e-9
"""An overshoot that only makes sure of the far side, so that distances are the exact ones."""


def noise(n: int, seed: int = 0) -> KeyedNoise:
    return KeyedNoise(seed, torch.arange(n))


def begun(attack: FAB, model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, task: Tensor) -> Rows:
    radius = torch.full((len(x),), float(threat.radius), dtype=x.dtype)
    return attack.begin(model, threat, first_rows(x, y, radius, task), noise(len(x)))


def run(attack: FAB, model: Any, threat: ThreatModel, rows: Rows, steps: int) -> Rows:
    for _ in range(steps):
        rows = stepped(attack.step(model, threat, rows, noise(len(rows))))
    return rows


def exact_by_bisection(model: nn.Sequential, x: Tensor, y: Tensor, norm: Any) -> Tensor:
    """Distance at which the exact margin in the box becomes 0; infinite where the whole box is classified correctly."""
    head = model[1]
    low, high = torch.zeros(len(x), dtype=torch.float64), torch.full((len(x),), 18.0, dtype=torch.float64)
    safe = boxed_robust_margin(head.weight, head.bias, x, y, high, norm) > 0
    for _ in range(60):
        middle = (low + high) / 2
        robust = boxed_robust_margin(head.weight, head.bias, x, y, middle, norm) > 0
        low, high = torch.where(robust, middle, low), torch.where(robust, high, middle)
    return high.masked_fill(safe, float("inf")).detach()


def exact_by_program(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, y: int) -> float:
    """Euclidean distance in the box by a quadratic program for every rival class, 0 where misclassified already."""
    lengths = []
    for rival in range(len(weight)):
        slope, lead = weight[rival] - weight[y], (weight[rival] - weight[y]) @ x + bias[rival] - bias[y]
        if rival == y or lead + np.where(slope > 0, slope * (1 - x), -slope * x).sum() < 0:
            continue
        found = minimize(
            lambda d: d @ d,
            np.zeros_like(x),
            jac=lambda d: 2 * d,
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={
                "type": "ineq",
                "fun": lambda d, s=slope, c=lead: s @ d + c,
                "jac": lambda _, s=slope: s,
            },
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert found.success
        lengths.append(float(np.sqrt(found.fun)))
    return min(lengths, default=float("inf"))


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("targets", [0, 4])
def test_far_from_the_box_distances_are_the_margin_over_the_dual_norm(
    threat: ThreatModel, targets: int, linear: nn.Sequential
) -> None:
    """Grey images near the point where all five classes meet, so that no boundary is farther than the box."""
    generator = torch.Generator().manual_seed(1)
    x = 0.5 + 0.001 * torch.randn(20, 2, 3, 3, generator=generator, dtype=torch.float64)
    weight = linear[1].weight.detach()
    with torch.no_grad():
        linear[1].bias.copy_(-(weight @ x.mean(0).flatten()))
        logits = linear(x)
    y = logits.argmax(1)
    lead = logits.gather(1, y[:, None]) - logits
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[threat.norm]
    exact = lead / torch.linalg.vector_norm(weight[y][:, None] - weight, dual, dim=2)
    exact = exact.scatter(1, y[:, None], torch.inf).amin(1)
    x_adv, distance = FAB(steps=3, targets=targets, eta=ONTO).nearest(linear, x, y, threat, noise(20))
    assert torch.allclose(distance, exact, rtol=1e-7, atol=0)
    assert bool((linear(x_adv).argmax(1) != y).all())
    _, published = FAB(steps=30, targets=targets).nearest(linear, x, y, threat, noise(20))
    assert bool((published >= exact).all())
    assert bool((published <= 1.01 * exact).all())


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("fields", [{}, {"alpha_max": 0.03, "eta": 1.2, "beta": 0.7}, {"alpha_max": 0.5}], ids=str)
def test_the_path_is_that_of_the_formulas(threat: ThreatModel, fields: dict[str, float]) -> None:
    """Two classes, far from the box: all points lie on one ray, and their distances follow a recursion of numbers."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 2)).double()
    x = torch.full((1, 2, 3, 3), 0.5, dtype=torch.float64)
    attack = FAB(steps=12, **fields)
    with torch.no_grad():
        slope = torch.linspace(1, 2, 18, dtype=torch.float64)
        model[1].weight.copy_(torch.stack([slope, 0 * slope]))
        model[1].bias.copy_(torch.tensor([0.1 - 0.5 * float(slope.sum()), 0.0], dtype=torch.float64))
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[threat.norm]
    exact = 0.1 / float(torch.linalg.vector_norm(slope, dual))
    rows = begun(attack, model, x, torch.tensor([0]), threat, torch.tensor([0]))
    at, least = 0.0, float("inf")  # in units of the exact distance
    for _ in range(12):
        rows = run(attack, model, threat, rows, 1)
        share = min(abs(1 - at) / (abs(1 - at) + 1), attack.alpha_max)
        at = (1 - share) * (at + attack.eta * (1 - at)) + share * attack.eta
        if at > 1:
            least, at = min(least, at), attack.beta * at
        assert float(threat.distance(rows.memory["point"], x)) == pytest.approx(at * exact, rel=1e-9)
    assert float(rows.memory["distance"]) == pytest.approx(least * exact, rel=1e-9)


@pytest.mark.parametrize("threat", [linf("0.1"), l1(1.5)], ids=str)
def test_in_the_box_distances_are_those_of_the_exact_margin(
    threat: ThreatModel, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    exact = exact_by_bisection(linear, x, y, threat.norm)
    x_adv, distance = FAB(steps=20, targets=4, eta=ONTO).nearest(linear, x, y, threat, noise(40))
    assert torch.equal(distance[:4], torch.zeros(4, dtype=torch.float64))  # misclassified as they are
    assert torch.allclose(distance, exact, rtol=1e-6, atol=1e-12)
    assert torch.allclose(threat.distance(x_adv, x), distance, rtol=0, atol=1e-14)
    assert bool((linear(x_adv).argmax(1) != y).all())
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    touches = ((x_adv == 0) | (x_adv == 1)) & (x_adv != x)
    assert int(touches.flatten(1).any(1).sum()) > 5
    _, untargeted = FAB(steps=50).nearest(linear, x, y, threat, noise(40))
    assert bool((untargeted >= exact * (1 - 1e-9))[4:].all())
    assert float((untargeted / exact)[4:].median()) < 1.02


def test_in_the_box_euclidean_distances_are_those_of_a_quadratic_program(
    linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images[0][:24], images[1][:24]
    weight, bias = (value.detach().numpy() for value in linear[1].parameters())
    flat = x.flatten(1).numpy()
    exact = torch.tensor([exact_by_program(weight, bias, flat[i], int(y[i])) for i in range(24)])
    _, distance = FAB(steps=20, targets=4, eta=ONTO).nearest(linear, x, y, l2(1), noise(24))
    assert torch.allclose(distance, exact.double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_an_image_that_no_change_can_break_has_no_distance(
    threat: ThreatModel, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images[0], torch.zeros_like(images[1])
    with torch.no_grad():
        linear[1].bias[0] = 100.0
    attack = FAB(steps=5, targets=2, restarts=2)
    x_adv, distance = attack.nearest(linear, x, y, threat, noise(40))
    assert bool(distance.isinf().all())
    assert torch.equal(x_adv, x)
    assert torch.equal(attack(linear, x, y, threat=threat, noise=noise(40)), x)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_only_images_within_each_rows_radius_are_claimed(
    threat: ThreatModel, dtype: torch.dtype, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images[0].to(dtype), images[1]
    linear = linear.to(dtype)
    radius = torch.linspace(0, float(threat.radius), 40, dtype=dtype)
    attack = FAB(steps=20, targets=1)
    rows = attack.begin(linear, threat, first_rows(x, y, radius, torch.zeros_like(y)), noise(40))
    assert torch.equal(rows.fooled, linear(x).argmax(1) != y)
    rows = run(attack, linear, threat, rows, 20)
    assert torch.equal(rows.fooled, rows.memory["distance"] <= radius.double())
    assert 8 < int(rows.fooled.sum()) < 36
    assert torch.equal(linear(rows.best).argmax(1) != y, rows.fooled)
    assert bool((threat.distance(rows.best, x) <= radius.double()).all())
    assert torch.equal(rows.best[~rows.fooled], x[~rows.fooled])
    assert torch.equal(rows.best[rows.fooled], rows.memory["nearest"][rows.fooled])
    called = attack(linear, x, y, threat=threat, noise=noise(40), radius=radius)
    assert torch.equal(called[1:], rows.best[1:])
    assert called.dtype == dtype


def test_a_claim_that_was_taken_back_may_be_followed_by_a_farther_one(
    linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    """As where a faster copy of the model was fooled and the model itself is not."""
    x, y = images[0][4:], images[1][4:]
    attack = FAB(steps=10)
    rows = run(attack, linear, linf(1), begun(attack, linear, x, y, linf(1), torch.zeros_like(y)), 3)
    assert bool(rows.fooled.all())
    none = torch.zeros_like(rows.fooled)
    rows = replace(rows, fooled=none, memory=rows.memory | {"distance": torch.full_like(rows.memory["distance"], 1e-9)})
    again = run(attack, linear, linf(1), rows, 7)
    assert bool(again.fooled.all())
    assert bool((linear(again.best).argmax(1) != y).all())
    assert bool((again.memory["distance"] == 1e-9).all())


class ByElements(nn.Module):
    """A smooth classifier whose every number is computed from its own row in the same order, whatever the batch."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(classes, 18, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return ((3 * x.flatten(1)[:, None] * self.weight).sin() * self.weight.roll(1, 1)).sum(2)


@pytest.mark.parametrize("targets", [0, 3])
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_a_row_alone_is_the_row_in_company(threat: ThreatModel, targets: int, images: tuple[Tensor, Tensor]) -> None:
    """Runs of all kinds at different radii in one batch, exactly, in every tensor that a row has."""
    model, x = ByElements(5), images[0][:12]
    y = model(x).argmax(1)
    attack = FAB(steps=6, targets=targets, restarts=2)
    task = torch.arange(12) % attack.tasks(5)
    radius = torch.linspace(0.5, 1.5, 12, dtype=torch.float64) * float(threat.radius)

    def result(chosen: slice) -> Rows:
        source = KeyedNoise(3, torch.arange(12)[chosen], 1, task[chosen])
        rows = attack.begin(model, threat, first_rows(x[chosen], y[chosen], radius[chosen], task[chosen]), source)
        return run(attack, model, threat, rows, 6)

    together = result(slice(None))
    assert bool(together.fooled.any())
    for i in range(12):
        alone, same = result(slice(i, i + 1)), together.take(slice(i, i + 1))
        assert torch.equal(alone.best, same.best)
        assert torch.equal(alone.fooled, same.fooled)
        assert alone.memory.keys() == same.memory.keys()
        for name in alone.memory:
            assert torch.equal(alone.memory[name], same.memory[name]), name


@pytest.mark.parametrize(("classes", "tasks"), [(2, 1), (3, 2), (5, 4), (12, 9)])
def test_few_classes_have_few_targets(classes: int, tasks: int, images: tuple[Tensor, Tensor]) -> None:
    model, x = ByElements(classes), images[0]
    y = model(x).argmax(1)
    attack = FAB(steps=10, targets=9, restarts=3)
    assert attack.tasks(classes) == 3 * tasks
    assert FAB(restarts=3).tasks(classes) == 3
    aimed = [begun(attack, model, x, y, linf(0.1), torch.full_like(y, task)).memory["target"] for task in range(tasks)]
    ranked = model(x).argsort(1, descending=True)[:, 1 : 1 + tasks]
    assert torch.equal(torch.stack(aimed, 1), ranked)
    later = begun(attack, model, x, y, linf(0.1), torch.full_like(y, 2 * tasks)).memory["target"]
    assert torch.equal(later, ranked[:, 0])  # the third restart begins with the runner-up again
    x_adv, distance = FAB(steps=10, targets=9).nearest(model, x, y, linf(0.1), noise(40))
    assert bool((model(x_adv).argmax(1) != y)[distance.isfinite()].all())
    assert int(distance.isfinite().sum()) >= 38


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_restarts_begin_at_the_image_and_then_within_half_the_radius(
    threat: ThreatModel, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    attack = FAB(targets=2, restarts=2)
    task = torch.arange(40) % 4
    rows = begun(attack, linear, x, y, threat, task)
    start = threat.distance(rows.memory["point"], x)
    assert bool((start[task < 2] == 0).all())
    assert bool((start[task >= 2] > 0).all())
    assert bool((start[task >= 2] <= float(threat.radius) / 2 + 1e-12).all())
    assert torch.equal(rows.best, x)


@pytest.mark.parametrize("source", ["keyed", "generator"])
def test_a_call_works_with_both_kinds_of_noise(
    source: str, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images

    def made() -> Noise:
        return noise(40) if source == "keyed" else GeneratorNoise(torch.Generator().manual_seed(0))

    attack = FAB(steps=8, restarts=2)
    x_adv = attack(linear, x, y, threat=linf("0.1"), noise=made())
    assert torch.equal(x_adv, attack(linear, x, y, threat=linf("0.1"), noise=made()))
    exact = exact_by_bisection(linear, x, y, "linf")
    fooled = linear(x_adv).argmax(1) != y
    assert not bool((fooled & (exact > 0.1)).any())
    assert int((fooled != (exact <= 0.1)).sum()) <= 2
    assert bool((linf("0.1").distance(x_adv, x) <= 0.1).all())
    with torch.no_grad():
        assert torch.equal(x_adv, attack(linear, x, y, threat=linf("0.1"), noise=made()))


class Watched(nn.Module):
    """A network with a frozen BatchNorm that notes its modes and whether a gradient is wanted, and may fail."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head = nn.BatchNorm2d(2), nn.Linear(18, 5)
        self.double().train()
        self.norm.eval()
        self.calls: list[tuple[bool, bool]] = []
        self.fails_at = fails_at

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.training or self.norm.training, x.requires_grad))
        if len(self.calls) == self.fails_at:
            raise RuntimeError("out of memory")
        return self.head(self.norm(x).flatten(1))


@pytest.mark.parametrize("fails_at", [0, 4])
@pytest.mark.parametrize("how", ["call", "nearest"])
def test_modes_are_put_back_and_no_gradient_reaches_a_parameter(
    how: str, fails_at: int, images: tuple[Tensor, Tensor]
) -> None:
    model = Watched(fails_at)
    attack = FAB(steps=3)
    attacked = partial(attack if how == "call" else attack.nearest, threat=linf("0.1"), noise=noise(40))
    with pytest.raises(RuntimeError, match="out of memory") if fails_at else nullcontext():
        attacked(model, *images)
    assert {training for training, _ in model.calls} == {False}
    assert (model.training, model.norm.training, model.head.training) == (True, False, True)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not images[0].requires_grad


@pytest.mark.parametrize("targets", [0, 2])
def test_a_step_calls_the_model_twice_once_for_its_gradient(targets: int, images: tuple[Tensor, Tensor]) -> None:
    model = Watched().eval()
    attack = FAB(steps=4, targets=targets)
    rows = begun(attack, model, *images, linf("0.1"), torch.zeros_like(images[1]))
    assert [wanted for _, wanted in model.calls] == [False]
    run(attack, model, linf("0.1"), rows, attack.length())
    assert [wanted for _, wanted in model.calls[1:]] == [True, False] * 4


@pytest.mark.parametrize("targets", [0, 2])
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_a_step_never_waits_for_the_device(
    threat: ThreatModel,
    targets: int,
    linear: nn.Sequential,
    images: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: Any,
) -> None:
    monkeypatch.setattr(hyperplane, "_looks_are_free", lambda _: False)  # as on an accelerator
    attack = FAB(steps=4, targets=targets)
    rows = begun(attack, linear, *images, threat, torch.zeros_like(images[1]))
    with no_waiting():
        assert len(run(attack, linear, threat, rows, 2)) == 40
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            bool(rows.fooled.any())


def test_a_flat_model_breaks_nothing_and_stays_finite(images: tuple[Tensor, Tensor]) -> None:
    """Where gradients vanish there is no boundary to step to, as behind a saturated or masked layer."""

    def flat(x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.5, 0.0], dtype=x.dtype)

    x, y = images[0], torch.zeros_like(images[1])
    for threat in THREATS:
        x_adv, distance = FAB(steps=3, restarts=2).nearest(flat, x, y, threat, noise(40))
        assert bool(distance.isinf().all())
        assert torch.equal(x_adv, x)


@pytest.mark.parametrize(
    "fields",
    [{"steps": 0}, {"restarts": 0}, {"targets": -1}, {"alpha_max": 1.5}, {"eta": 0.9}, {"beta": 1.0}, {"beta": 0.0}],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|in \[0, 1\]"):
        FAB(**fields)


def test_its_plain_form_is_read_back() -> None:
    assert from_plain(FAB, to_plain(FAB(targets=9))) == FAB(targets=9)
    assert to_plain(FAB())["name"] == "fab"
