"""Honest models raise no failure, and no warning but those that say why."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise.attacks import attack_list
from classwise.evaluation.collect import Evaluator
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.sanity import cheap_checks, full_checks
from classwise.evaluation.sanity.gradients import _disagreement
from classwise.evaluation.sanity.look import probe
from classwise.evaluation.sanity.verdicts import CAUSES
from classwise.models import ResNetCIFAR, weights_digest
from classwise.trained import find_model

CPU = torch.device("cpu")
Plan = Callable[..., AuditPlan]


def unhappy(checks: tuple[Any, ...]) -> list[str]:
    return [f"{check.verdict} {check.name}: {check.sentence}" for check in checks if check.verdict != "pass"]


def judged(checks: tuple[Any, ...]) -> set[str]:
    return {check.name for check in checks if not check.sentence.startswith("Not judged")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["natural", "robust", "transformer"])
def test_networks_on_the_digits(name: str, request: pytest.FixtureRequest, images: cw.ClassData, plan: Plan) -> None:
    """At this radius the natural ones keep a few per cent of the images, which is no fault."""
    model = request.getfixturevalue(name)
    checks = full_checks(model, images, plan(), CPU)
    assert unhappy(checks) == []
    assert judged(checks) == set(CAUSES)


@pytest.mark.parametrize("name", ["natural", "robust", pytest.param("transformer", marks=pytest.mark.slow)])
def test_the_end_of_an_audit_of_two_radii(
    name: str, request: pytest.FixtureRequest, images: cw.ClassData, plan: Plan
) -> None:
    model = request.getfixturevalue(name)
    asked = plan(threats=[cw.linf("0.05"), cw.linf("0.15")])
    collected = Evaluator(asked.threats, asked.attacks).run(model, images)
    checks = cheap_checks(model, images, asked, collected, CPU, weights_digest(model))
    assert unhappy(checks) == []
    assert judged(checks) == {*CAUSES} - {"more-steps", "black-box"}


@pytest.mark.slow
@pytest.mark.parametrize("threat", [cw.l2("0.8"), cw.l1("2"), cw.linf("0.6")], ids=str)
def test_other_norms_and_a_very_large_radius(
    threat: cw.ThreatModel, robust: nn.Module, images: cw.ClassData, plan: Plan
) -> None:
    checks = full_checks(robust, images, plan(threats=[threat]), CPU)
    assert unhappy(checks) == []
    assert judged(checks) == {*CAUSES} - ({"black-box"} if threat.norm == "l1" else set())


def test_radius_zero_is_not_attacked(robust: nn.Module, images: cw.ClassData, plan: Plan) -> None:
    checks = {check.name: check for check in full_checks(robust, images, plan(threats=[cw.linf(0)]), CPU)}
    assert checks["black-box"].sentence == "Not judged: the radius is 0."


@pytest.mark.slow
def test_functions_and_logarithms_of_probabilities(
    robust: nn.Module, defended: ModuleType, images: cw.ClassData, plan: Plan
) -> None:
    def function(x: Tensor) -> Tensor:
        return robust(x)

    assert unhappy(full_checks(function, images, plan(), CPU)) == []
    checks = full_checks(defended.LogProbabilities(robust), images, plan(), CPU)
    assert unhappy(checks) == []
    assert any("logarithms of probabilities" in check.sentence for check in checks)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes: int, robust: nn.Module, images: cw.ClassData, plan: Plan) -> None:
    names = ("zero", "one", "two")[:classes]
    chosen = images.labels < classes
    data = cw.ClassData(images.images[chosen], images.labels[chosen], names)

    def some(x: Tensor) -> Tensor:
        return robust(x)[:, :classes]

    assert unhappy(full_checks(some, data, plan(data), CPU)) == []


@pytest.mark.slow
def test_nothing_of_the_model_is_changed(robust: nn.Module, images: cw.ClassData, plan: Plan) -> None:
    before, keys = weights_digest(robust), list(robust._modules)
    gradients = [each.grad.clone() for each in robust.parameters()]  # left by training
    few = images.first_per_class(10)
    first = full_checks(robust, few, plan(few), CPU)
    assert weights_digest(robust) == before
    assert list(robust._modules) == keys
    assert not any(module.training or module._forward_pre_hooks for module in robust.modules())
    assert all(torch.equal(each.grad, held) for each, held in zip(robust.parameters(), gradients, strict=True))
    assert full_checks(robust, few, plan(few), CPU) == first  # no draw is left to chance


class Counted(nn.Module):
    """Counts images that pass forwards and batches that pass back, those of its copies too."""

    images = 0
    backwards = 0

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        Counted.images += len(x)
        if x.requires_grad:
            x.register_hook(self.passed_back)
        return self.net(x)

    @staticmethod
    def passed_back(_: Tensor) -> None:
        Counted.backwards += 1


def test_the_end_of_an_audit_is_cheap(robust: nn.Module, images: cw.ClassData, plan: Plan) -> None:
    asked = plan(attacks=attack_list("pgd-20"))
    model = Counted(robust)
    collected = Evaluator(asked.threats, asked.attacks).run(model, images)
    spent, Counted.images, Counted.backwards = Counted.images, 0, 0
    assert unhappy(cheap_checks(model, images, asked, collected, CPU)) == []
    assert Counted.images <= 10 * 64
    assert Counted.images < 0.1 * spent
    assert 0 < Counted.backwards <= 3


def test_an_audit_of_one_image_at_a_time_is_checked_so(robust: nn.Module, images: cw.ClassData, plan: Plan) -> None:
    """Where memory is short the checks must not ask for more of it than the audit did."""
    few, largest = images.first_per_class(2), [0]

    def watched(x: Tensor) -> Tensor:
        largest[0] = max(largest[0], len(x))
        return robust(x)

    asked = plan(few, batch_size=4)
    collected = Evaluator(asked.threats, asked.attacks, batch_size=4).run(watched, few)
    largest[0] = 0
    cheap_checks(watched, few, asked, collected, CPU)
    assert largest[0] == 4


def test_without_images_there_is_nothing_to_check(robust: nn.Module, images: cw.ClassData, plan: Plan) -> None:
    asked = plan()
    none = images.subset(torch.arange(0))
    collected = Evaluator(asked.threats, asked.attacks).run(robust, none)
    assert cheap_checks(robust, none, asked, collected, CPU) == ()


@pytest.fixture(scope="module")
def cifar10(shared: Path) -> cw.ClassData:
    """Two hundred test images of each class."""
    spec = importlib.util.spec_from_file_location("read_cifar10", shared / "data" / "read_cifar10.py")
    assert spec is not None
    assert spec.loader is not None
    decoder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(decoder)
    images, labels, _, names = decoder.read_part(shared / "data" / "cifar10" / "test_a_200.npz")
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return cw.ClassData(pixels, torch.from_numpy(labels), tuple(names), name="cifar10")


@pytest.fixture(scope="module")
def residual(shared: Path) -> Callable[[str], nn.Module]:
    """A published ResNet-20: ``residual("natural")`` or ``residual("pgd_at")``."""

    def read(name: str) -> nn.Module:
        path = shared / "data" / "checkpoints" / f"cifar10_resnet20_{name}.pth"
        return find_model(path, ResNetCIFAR(depth=20), 10, (3, 32, 32)).network.eval()

    return read


@pytest.mark.slow
@pytest.mark.parametrize("name", ["natural", "pgd_at"])
def test_published_networks(name: str, residual: Any, cifar10: cw.ClassData, plan: Plan) -> None:
    model = residual(name)
    checks = full_checks(model, cifar10, plan(cifar10, threats=[cw.linf("8/255")]), CPU)
    assert unhappy(checks) == []
    assert judged(checks) == set(CAUSES)
    few = probe(model, cifar10, 16, 16, CPU)
    assert _disagreement(few, 0)[0] < 1e-4
    error, described = _disagreement(probe(lambda x: model(x), cifar10, 16, 16, CPU), 0)
    assert (error < 0.1, described) == (True, "float32")


@pytest.mark.slow
def test_a_published_network_that_is_normalised_although_it_was_not_in_training(
    residual: Any, cifar10: cw.ClassData, plan: Plan
) -> None:
    model = cw.Normalized(residual("natural"), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    found = {each.name: each for each in full_checks(model, cifar10, plan(cifar10, threats=[cw.linf("8/255")]), CPU)}
    assert [name for name, check in found.items() if check.verdict != "pass"] == ["input-range"]
    assert found["input-range"].verdict == "fail"
    assert "without any normalisation" in found["input-range"].sentence
