"""Friendly PGD against the rule it follows, worked out sample by sample, and against PGD."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise import ClassData
from classwise.attacks import PGD, Attack, FriendlyPGD, Inner
from classwise.configuration import from_plain, replace, to_plain
from classwise.evaluation import Evaluator
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel, l1, l2, linf

THREATS = [linf("0.2"), l2("0.6"), l1("2")]
RULES: Any = ["original", "cfa"]
KL = Inner(loss="kl", start="gauss")


def noise(n: int, offset: int = 0) -> KeyedNoise:
    return KeyedNoise(0, torch.arange(offset, offset + n))


def wavy(x: Tensor) -> Tensor:
    """Logits (N, 3) that change sign many times along any line, so that samples are fooled and come back."""
    total = x.flatten(1).sum(1)
    return torch.stack([torch.sin(9 * total), torch.cos(7 * total), 0 * total], 1)


def by_rule(model: Any, x: Tensor, y: int, rule: str, budget: int, steps: int, step: float, radius: float) -> Tensor:
    """One image (1, …) after at most so many steps in l_inf from the original, with plain Python decisions."""
    point, left = x, budget
    for _ in range(steps):
        free = point.detach().clone().requires_grad_()
        logits = model(free)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([y])), free)
        wrong = int(logits.argmax()) != y
        if rule == "original" and wrong and left == 0:
            break
        if rule == "cfa" and left == 0:
            break
        left -= wrong
        point = torch.minimum(torch.maximum(point + step * gradient.sign(), x - radius), x + radius).clamp(0, 1)
    return point


@pytest.mark.parametrize(
    ("rule", "budget"),
    [("original", 0), ("original", 1), ("original", 2), ("original", 4), ("cfa", 1), ("cfa", 2), ("cfa", 4)],
)
def test_who_stops_and_when(rule: Any, budget: int, images: tuple[Tensor, Tensor]) -> None:
    x = images[0]
    y = wavy(x).argmax(1)
    attack = FriendlyPGD(steps=9, step_size="0.03", start="none", budget=budget, rule=rule)
    x_adv = attack(wavy, x, y, threat=linf("0.2"), noise=noise(40))
    expected = torch.cat([by_rule(wavy, x[i : i + 1], int(y[i]), rule, budget, 9, 0.03, 0.2) for i in range(40)])
    assert torch.allclose(x_adv, expected, rtol=0, atol=1e-12)
    plain = PGD(steps=9, step_size="0.03", start="none")(wavy, x, y, threat=linf("0.2"), noise=noise(40))
    stopped_early = (x_adv != plain).flatten(1).any(1)
    assert 0 < int(stopped_early.sum()) < 40


def test_the_rules_differ_for_samples_that_are_right_again(images: tuple[Tensor, Tensor]) -> None:
    x = images[0]
    y = wavy(x).argmax(1)
    attack = FriendlyPGD(steps=9, step_size="0.03", start="none", budget=1)
    original, cfa = (
        replace(attack, rule=rule)(wavy, x, y, threat=linf("0.2"), noise=noise(40)) for rule in ("original", "cfa")
    )
    differ = (original != cfa).flatten(1).any(1)
    assert 5 < int(differ.sum()) < 40
    right = wavy(cfa).argmax(1) == y
    assert bool(right[differ].all())  # CFA's rule left them where they were right again
    assert not bool((wavy(original).argmax(1) == y)[differ].all())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("budget", [6, 50])
def test_a_budget_of_all_steps_is_pgd(
    rule: Any, threat: ThreatModel, budget: int, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    friendly, plain = FriendlyPGD(steps=6, budget=budget, rule=rule), PGD(steps=6)
    radius = torch.linspace(0, 1.5 * float(threat.radius), 40, dtype=torch.float64)
    arguments = {"threat": threat, "radius": radius, "step_scale": torch.linspace(0.5, 2, 40)}
    for loss in ("cross-entropy", "margin"):
        for inner in (Inner(loss=loss), Inner(loss=loss, start="none")):
            ours = friendly(linear, *images, noise=noise(40), inner=inner, **arguments)
            assert torch.equal(ours, plain(linear, *images, noise=noise(40), inner=inner, **arguments))
    given = Inner(loss="kl", reference=linear(images[0].flip(0)).detach())
    ours = friendly(linear, *images, noise=noise(40), inner=given, **arguments)
    assert torch.equal(ours, plain(linear, *images, noise=noise(40), inner=given, **arguments))
    inside = 0.3 + 0.4 * images[0]  # away from the box, to which only friendly starts are clipped
    ours = friendly(linear, inside, images[1], noise=noise(40), inner=KL, **arguments)
    assert torch.equal(ours, plain(linear, inside, images[1], noise=noise(40), inner=KL, **arguments))


def test_a_tiny_start_is_clipped_to_the_box(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """As in the published code; PGD with the inner problem of TRADES takes its first step from outside, also as published."""
    points: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        points.append(x.detach())
        return linear(x)

    for attack in (FriendlyPGD(steps=1), PGD(steps=1)):
        attack(model, *images, threat=linf("0.1"), noise=noise(40), inner=Inner(start="gauss"))
    ours, plain = points
    assert float(plain.min()) < 0
    assert torch.equal(ours, plain.clamp(0, 1))


@pytest.mark.parametrize("inner", [Inner(), KL], ids=["ce", "kl"])
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_company_and_order_do_not_matter(
    inner: Inner, threat: ThreatModel, rule: Any, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    attack = FriendlyPGD(steps=6, budget=1, rule=rule, jitter="0.01")
    radius = torch.linspace(0, 1.5 * float(threat.radius), 40, dtype=x.dtype)
    together = attack(linear, x, y, threat=threat, noise=noise(40), radius=radius, inner=inner)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    for rows in (order[:13], order[13:14], order[14:]):
        some = attack(
            linear, x[rows], y[rows], threat=threat, noise=KeyedNoise(0, rows), radius=radius[rows], inner=inner
        )
        # Fewer rows go through another matrix kernel, which may change last bits.
        assert torch.allclose(some, together[rows], rtol=0, atol=1e-9)


@pytest.mark.parametrize("start", ["uniform", "gauss", "none"])
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_the_result_is_in_the_ball_and_in_the_box(
    start: Any, threat: ThreatModel, rule: Any, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    radius = torch.linspace(0, 2 * float(threat.radius), 40, dtype=x.dtype)
    attack = FriendlyPGD(steps=5, budget=2, start=start, rule=rule, jitter="0.05")
    x_adv = attack(linear, x, y, threat=threat, noise=noise(40), radius=radius)
    assert bool((threat.distance(x_adv, x) <= radius + 1e-6).all())
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    assert torch.equal(x_adv[0], x[0])
    assert float(threat.distance(x_adv, x).max()) > 1.2 * float(threat.radius)  # large radii are used


def test_jitter_is_added_before_the_projection(
    linear: nn.Sequential, images: tuple[Tensor, Tensor], given_noise: Callable[..., Any]
) -> None:
    x, y = images
    draw = torch.randn(40, 18, generator=torch.Generator().manual_seed(7), dtype=x.dtype)
    attack = FriendlyPGD(steps=1, step_size="0.05", start="none", budget=9, jitter="0.03")
    x_adv = attack(linear, x, y, threat=linf("0.06"), noise=given_noise(draw))
    free = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(linear(free), y), free)
    delta = (0.05 * gradient.sign() + 0.03 * draw.view_as(x)).clamp(-0.06, 0.06)
    assert torch.allclose(x_adv, (x + delta).clamp(0, 1), rtol=0, atol=1e-12)
    # Without jitter nothing is drawn but the start, with it one draw for each step.
    FriendlyPGD(steps=3)(linear, x, y, threat=linf("0.06"), noise=given_noise(draw))
    with pytest.raises(IndexError):
        replace(attack, steps=3)(linear, x, y, threat=linf("0.06"), noise=given_noise(draw, draw))


@pytest.mark.parametrize("rule", RULES)
def test_a_number_of_steps_for_each_sample(rule: Any, linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """The same as an attack of so many steps; the knob is rounded up."""
    x, y = images
    scale = torch.linspace(0, 1, 40, dtype=x.dtype)
    attack = FriendlyPGD(steps=7, budget=2, relative_step=0.2, rule=rule)
    together = attack(linear, x, y, threat=linf("0.3"), noise=noise(40), steps_scale=scale)
    counts = (7 * scale).ceil().int().tolist()
    assert set(counts) == set(range(8))
    for count in range(1, 8):
        rows = torch.tensor([i for i in range(40) if counts[i] == count])
        alone = replace(attack, steps=count)(linear, x, y, threat=linf("0.3"), noise=noise(40))
        assert torch.allclose(together[rows], alone[rows], rtol=0, atol=1e-9)


def test_the_budget_grows_with_the_epochs() -> None:
    attack = FriendlyPGD(budget=1, budget_epochs=(2, 5, 5), jitter="0.001", steps=20)
    assert [attack.at_epoch(epoch).budget for epoch in range(-1, 7)] == [1, 1, 1, 2, 2, 2, 4, 4]
    later = attack.at_epoch(5)
    assert later == replace(attack, budget=4, budget_epochs=())
    assert later.at_epoch(9) is later  # it does not grow twice
    assert attack.budget == 1


def test_who_has_left_does_not_come_back() -> None:
    """Also where a prediction changes while the image stays, as in train mode, where the others' images count."""
    calls: list[Tensor] = []

    def fickle(x: Tensor) -> Tensor:
        calls.append(x.detach())
        sign = 1 if len(calls) % 2 == 0 else -1  # wrong, right, wrong, right …
        return torch.stack([sign + x.flatten(1).sum(1), 0 * x.flatten(1).sum(1)], 1)

    x, y = torch.full((1, 1, 2, 2), 0.05), torch.tensor([0])
    moved = []
    for budget, rule in ((0, "original"), (1, "original"), (1, "cfa")):
        calls.clear()
        attack = FriendlyPGD(steps=6, step_size="0.001", start="none", budget=budget, rule=rule)
        x_adv = attack(fickle, x, y, threat=linf("0.04"), noise=noise(1))
        assert len(calls) == 6
        moved.append(round(float((x_adv - x).abs().max()) / 0.001))
    # Without budget nothing; with one unit steps 1 and 2, or, by CFA's rule, step 1 alone.
    assert moved == [0, 2, 1]


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("inner", [Inner(), KL], ids=["ce", "kl"])
def test_it_never_waits_for_the_device(
    threat: ThreatModel, inner: Inner, linear: nn.Sequential, images: tuple[Tensor, Tensor], no_waiting: Any
) -> None:
    attack = FriendlyPGD(steps=3, budget=1, jitter="0.01")
    with no_waiting():
        x_adv = attack(linear, *images, threat=threat, noise=noise(40), inner=inner)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            bool((x_adv > 0).any())


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_every_step_runs_the_whole_batch_once(bn_mode: Any, images: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 5)).double().train()
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    attack = FriendlyPGD(steps=4, bn_mode=bn_mode)
    attack(model, *images, threat=linf("0.1"), noise=noise(40))
    assert sizes == [40] * 4 == [40] * attack.forwards()
    assert int(model[0].num_batches_tracked) == (4 if bn_mode == "train" else 0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_the_first_step_from_a_tiny_start_is_in_full_precision(
    linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    seen: list[torch.dtype] = []
    small = linear.float()

    def model(x: Tensor) -> Tensor:
        logits = small(x)
        seen.append(logits.dtype)
        return logits

    x, y = images[0].float(), images[1]
    for inner in (KL, Inner()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            FriendlyPGD(steps=2)(model, x, y, threat=linf("0.1"), noise=noise(40), inner=inner)
    full, half = torch.float32, torch.bfloat16
    assert seen == [full, full, half, half, half]  # reference and first step of "kl"; then cross-entropy


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_without_budget_it_is_pgd_that_stops_when_fooled(
    threat: ThreatModel, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    ours = FriendlyPGD(steps=8)(linear, *images, threat=threat, noise=noise(40))
    stopping = PGD(steps=8, stop_when_fooled=True)(linear, *images, threat=threat, noise=noise(40))
    assert torch.equal(ours, stopping)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("budget", [1, 3])
def test_it_never_breaks_what_pgd_that_stops_does_not(rule: Any, budget: int, images: tuple[Tensor, Tensor]) -> None:
    """Its verdicts in an audit are true ones, and may be too mild: a model that wavers takes samples back."""
    x = images[0]
    y = wavy(x).argmax(1)
    arguments = {"threat": linf("0.2"), "inner": Inner(start="none")}
    friendly = FriendlyPGD(steps=9, step_size="0.03", budget=budget, rule=rule)
    stopping = PGD(steps=9, step_size="0.03", stop_when_fooled=True)
    ours, theirs = (
        wavy(each(wavy, x, y, noise=noise(40), **arguments)).argmax(1) != y for each in (friendly, stopping)
    )
    assert bool((theirs | ~ours).all())
    assert int(ours.sum()) < int(theirs.sum())


def test_an_audit_with_it(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """Verdicts without budget are those of PGD; ``budget_epochs`` plays no part; a sample is judged as any other."""
    data = ClassData(images[0].float(), images[1], tuple("abcde"))
    model = linear.float().eval()

    def robust(attack: Attack) -> Any:
        evaluator = Evaluator(threats=(linf("0.1"),), attacks=(attack,), batch_size=16)
        return evaluator.collect(model, data).robust_correct(0)

    usual = robust(PGD(steps=6, start="none", stop_when_fooled=True))
    assert 4 < usual.sum() < 36
    assert (robust(FriendlyPGD(steps=6, start="none")) == usual).all()
    assert (robust(FriendlyPGD(steps=6, start="none", budget_epochs=(0, 1))) == usual).all()
    for rule in RULES:
        assert (robust(FriendlyPGD(steps=6, start="none", budget=2, rule=rule)) >= usual).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps 0 must be at least 1"),
        ({"relative_step": 0.0}, "longer than 0"),
        ({"step_size": 0}, "longer than 0"),
        ({"budget": -1}, "budget -1 with rule 'original' must be at least 0"),
        ({"rule": "cfa"}, "budget 0 with rule 'cfa' must be at least 1"),
        ({"budget_epochs": (3, -1)}, "count from 0"),
        ({"jitter": "-0.1"}, "at least 0"),
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FriendlyPGD(**fields)


def test_its_plain_form_is_read_back() -> None:
    attack = FriendlyPGD(budget_epochs=(50, 90), jitter="0.001", step_size="0.007")
    assert from_plain(Attack, to_plain(attack)) == attack
    assert from_plain(Attack, "fat") == FriendlyPGD()
    assert FriendlyPGD.heeds == PGD.heeds
