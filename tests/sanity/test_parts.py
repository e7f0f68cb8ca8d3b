"""Single checks where the answer is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise.attacks import attack_list
from classwise.evaluation.collect import Evaluator
from classwise.evaluation.sanity import outcome_checks
from classwise.evaluation.sanity.counted import few_samples, outside_the_ball
from classwise.evaluation.sanity.gradients import _loss_gradients, wrong_gradients, zero_gradients
from classwise.evaluation.sanity.input_range import _others, input_range
from classwise.evaluation.sanity.look import Probe, look, moments, spread
from classwise.evaluation.sanity.outputs import changed_model, probabilities, randomised
from classwise.metrics.intervals import wilson


def probe(model: Any, count: int = 24, classes: int = 3, at_once: int = 7) -> Probe:
    """Random images with the labels that the model gives them."""
    x = torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = model(x).argmax(1)
    return Probe(model, x, y, torch.arange(count), at_once)


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).eval()


def test_lengths_of_gradients_are_those_of_the_formula(linear: nn.Module) -> None:
    at = probe(linear)
    entropy, margin = _loss_gradients(at)
    weight = linear[1].weight.detach()
    logits = linear(at.x).detach()
    chosen = logits.softmax(1) - torch.eye(3)[at.y]
    assert torch.allclose(entropy, (chosen @ weight).norm(dim=1), rtol=1e-5)
    rival = logits.scatter(1, at.y[:, None], -torch.inf).argmax(1)
    assert torch.allclose(margin, (weight[at.y] - weight[rival]).norm(dim=1), rtol=1e-5)


def test_very_small_gradients_are_measured_and_not_squared_away(linear: nn.Module) -> None:
    at = probe(lambda x: 1e-25 * linear(x))
    _, margin = _loss_gradients(at)
    assert torch.allclose(1e25 * margin, _loss_gradients(probe(linear))[1], rtol=1e-4)


@pytest.mark.parametrize(("norm", "verdict"), [("linf", "pass"), ("l1", "pass"), ("l2", "fail")])
def test_small_gradients_are_lost_in_l2_only(norm: Any, verdict: str, linear: nn.Module) -> None:
    at = probe(lambda x: 1e-12 * linear(x))
    assert zero_gradients(at, norm, attack_list("pgd-10")).verdict == verdict


@pytest.mark.parametrize(
    ("attacks", "verdict"), [("pgd-20", "fail"), ("apgd-ce", "fail"), ("cw-20", "warn"), ("standard", "warn")]
)
def test_a_saturated_softmax_is_forgiven_where_an_attack_does_not_use_it(
    attacks: str, verdict: str, linear: nn.Module
) -> None:
    at = probe(lambda x: 1e6 * linear(x))
    found = zero_gradients(at, "linf", attack_list(attacks))
    assert found.verdict == verdict
    assert "saturated" in found.sentence


def test_a_tenth_of_the_images_without_gradient_is_too_many(linear: nn.Module) -> None:
    for hidden, verdict in ((0, "pass"), (2, "warn"), (3, "fail")):

        def some(x: Tensor, hidden: int = hidden) -> Tensor:
            return torch.cat([linear(x[:hidden].detach()), linear(x[hidden:])])

        found = zero_gradients(probe(some, count=24, at_once=24), "linf", attack_list("pgd-20"))
        assert found.verdict == verdict
        assert (f"{hidden} of 24" in found.sentence) == (verdict != "pass")


def test_images_that_are_wrong_anyway_do_not_count(linear: nn.Module) -> None:
    at = probe(linear)
    wrong = Probe(linear, at.x, (at.y + 1) % 3, at.index, 7)
    assert zero_gradients(wrong, "linf", attack_list("pgd-20")).sentence.startswith("Not judged")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_share_of_the_gradient_that_is_missing(share: float, linear: nn.Module) -> None:
    """The rest points in the right direction, and still the length tells: it is too short by the share."""

    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = linear

        def forward(self, x: Tensor) -> Tensor:
            return self.net((1 - share) * x + share * x.detach())

    module = Partly().eval()
    # In float32 the search for a step ends at the first one that agrees to 5 %.
    for model, tolerance in ((module, 1e-6), (lambda x: module(x), 0.05)):
        found = wrong_gradients(probe(model), seed=0)
        assert found.verdict == ("fail" if share else "pass")
        percent = float(found.sentence.split(" by ")[1].split(" %")[0])
        assert percent == pytest.approx(100 * share, abs=100 * tolerance)
        assert ("float64" in found.sentence) == (model is module)


def test_kinks_at_black_and_white_are_no_fault(linear: nn.Module) -> None:
    """A network that clips its input has half a derivative at exact 0 and 1."""

    class Clips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = linear

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.clamp(0, 1))

    at = probe(Clips().eval())
    black_and_white = Probe(at.model, at.x.round(), at.y, at.index, 7)
    assert wrong_gradients(black_and_white, seed=0).verdict == "pass"


def test_a_model_that_cannot_be_copied_or_converted_is_looked_at_in_float32(linear: nn.Module) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = linear

        def __deepcopy__(self, memory: Any) -> nn.Module:
            raise TypeError("not to be copied")

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    found = wrong_gradients(probe(Stubborn().eval()), seed=0)
    assert (found.verdict, "float32" in found.sentence) == ("pass", True)


def test_two_normalisations_are_taken_apart() -> None:
    x = torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.5, 0.45, 0.4]), torch.tensor([0.25, 0.2, 0.3])
    m, s = mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
    twice = ((x - m) / s - m) / s
    others = _others(x, moments(twice))
    assert torch.allclose(others["with one normalisation less"], s * x + m, atol=1e-5)
    once = (x - m) / s
    assert torch.allclose(_others(x, moments(once))["without any normalisation"], s * x + m, atol=1e-5)
    own_mean, own_std = moments(x)
    assert torch.allclose(own_mean, x.mean((0, 2, 3)), atol=1e-6)
    first = _others(x, None)["when normalised first"]
    assert torch.allclose(first, (x - own_mean.view(1, 3, 1, 1)) / own_std.view(1, 3, 1, 1), atol=1e-5)


def test_what_the_first_layer_receives_is_seen_through_any_way_to_it(linear: nn.Module) -> None:
    convolution = nn.Sequential(nn.Conv2d(2, 3, 4), nn.Flatten()).eval()

    class Scales(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(4 * x - 1)

    for net in (convolution, linear):
        at = probe(Scales(net).eval())
        seen = look(at).seen
        assert seen is not None
        mean, std = moments(at.x)
        assert torch.allclose(seen[0], 4 * mean - 1, atol=1e-5)
        assert torch.allclose(seen[1], 4 * std, atol=1e-5)
        assert not any(module._forward_pre_hooks for module in at.model.modules())  # type: ignore[attr-defined]
    assert look(probe(lambda x: linear(x))).seen is None
    assert "cannot be seen" in input_range(probe(lambda x: linear(x)), look(probe(lambda x: linear(x)))).sentence


def test_a_model_that_insists_on_its_range_is_not_asked_for_another(linear: nn.Module) -> None:
    def insists(x: Tensor) -> Tensor:
        assert float(x.detach().min()) >= 0
        assert float(x.detach().max()) <= 1
        return linear(x)

    at = probe(insists)
    assert input_range(at, look(at)).verdict == "pass"


def test_kinds_of_output() -> None:
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    assert probabilities(logits).verdict == "pass"
    assert probabilities(logits.softmax(1)).verdict == "fail"
    assert probabilities(logits.abs()).verdict == "pass"
    log = probabilities(logits.log_softmax(1))
    assert (log.verdict, "logarithms" in log.sentence) == ("pass", True)


def test_answers_that_differ() -> None:
    logits = 10 * torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    largest = float(logits.abs().max())
    assert randomised(logits, logits).verdict == "pass"
    assert randomised(logits, logits + 1e-5 * largest).verdict == "pass"
    assert randomised(logits, logits + 1e-3 * largest).verdict == "fail"
    swapped = logits.clone()
    swapped[:4] = -swapped[:4]
    assert "in 4 of 20 predictions" in randomised(logits, swapped).sentence


def test_changes_of_a_model() -> None:
    assert changed_model((), "a", "a").verdict == "pass"
    found = changed_model(("net.norm", "net.drop", "net"), "a", "b")
    assert found.verdict == "fail"
    assert "net.norm and 2 more submodules" in found.sentence
    assert "BatchNorm statistics" in found.sentence


def test_an_attack_in_train_mode_feeds_the_statistics_of_an_honest_model(
    images: cw.ClassData, plan: Callable[..., Any]
) -> None:
    """Which an audit refuses to run; the check knows it all the same."""
    from classwise.attacks import PGD
    from classwise.configuration import replace
    from classwise.evaluation.sanity import cheap_checks
    from classwise.models import weights_digest

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    for mode, verdict in (("eval", "pass"), ("train", "fail")):
        few = images.first_per_class(12)
        asked = replace(plan(few), attacks=(PGD(steps=2, bn_mode=mode),))
        weights = weights_digest(model)
        collected = Evaluator(asked.threats, asked.attacks).run(model, few)
        checks = cheap_checks(model, few, asked, collected, torch.device("cpu"), weights)
        assert {check.name: check.verdict for check in checks}["changed-model"] == verdict


def test_what_is_within_rounding_of_the_ball() -> None:
    for excess, verdict in ((-1e-3, "pass"), (0.0, "pass"), (9e-6, "pass"), (2e-5, "fail"), (0.1, "fail")):
        assert outside_the_ball(excess).verdict == verdict


NAMES = ("cat", "dog")


@pytest.mark.parametrize(
    ("n", "correct", "verdict"),
    [
        ((9, 500), (4, 250), "fail"),
        ((10, 500), (5, 250), "warn"),
        ((38, 500), (19, 250), "warn"),
        ((40, 500), (20, 250), "pass"),
        ((15, 500), (0, 250), "pass"),  # close to 0 % few images suffice
        ((1000, 1000), (300, 900), "pass"),
    ],
)
def test_few_samples(n: Any, correct: Any, verdict: str) -> None:
    found = few_samples(NAMES, np.array(n), [np.array(correct)])
    assert found.verdict == verdict
    low, high = wilson(np.array(correct), np.array(n))
    if verdict == "warn":
        assert f"±{100 * (high - low)[0] / 2:.0f} points from {n[0]} images" in found.sentence
    assert "cat" in found.sentence or verdict == "pass"


def test_before_an_audit_the_widest_interval_is_assumed() -> None:
    assert few_samples(NAMES, np.array([15, 500]), ()).verdict == "warn"
    assert few_samples(NAMES, np.array([40, 500]), ()).verdict == "pass"


def test_a_part_of_an_audit_is_not_called_small(natural: nn.Module, images: cw.ClassData, plan: Any) -> None:
    few = images.first_per_class(5)
    collected = Evaluator([cw.linf("0.05")], attack_list("fgsm")).run(natural, few)
    whole = outcome_checks(collected.outcomes, plan(few, threats=[cw.linf("0.05")], attacks="fgsm"))
    assert [(check.name, check.verdict) for check in whole] == [("few-samples", "fail")]
    part = outcome_checks(collected.outcomes, plan(few, threats=[cw.linf("0.05")], attacks="fgsm", shard="1/2"))
    assert [(check.name, check.verdict) for check in part] == [("few-samples", "pass")]
    assert "part 1/2" in part[0].sentence


def test_images_are_taken_from_every_class_in_turn() -> None:
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    data = cw.ClassData(torch.zeros(73, 1, 2, 2), labels, ("a", "b", "c"))
    for size, expected in ((3, (1, 1, 1)), (9, (3, 3, 3)), (20, (9, 3, 8)), (100, (50, 3, 20))):
        rows = spread(data, size)
        assert tuple(torch.bincount(labels[rows], minlength=3).tolist()) == expected
        assert rows.tolist() == sorted(set(rows.tolist()))


def test_forward_passes_are_as_large_as_is_allowed(linear: nn.Module) -> None:
    sizes: list[int] = []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return linear(x)

    at = probe(watched, count=24, at_once=7)
    sizes.clear()
    assert torch.allclose(at.logits(at.x), linear(at.x).detach())
    assert max(sizes) == 7
