"""Every built-in component keeps its contract, as it stands and in its other forms."""

import math
from typing import Any

import pytest
import torch

from classwise import registry
from classwise.attacks import APGD, FAB, PGD
from classwise.averaging import EpochEMA
from classwise.mixing import GaussianNoise
from classwise.objectives import Trades
from classwise.policies import KLDRO, CalibratedRadius, Combined, Fixed
from classwise.recipes import recipe
from classwise.repair import Interpolation, LogitBias
from classwise.selection import Last, NoWorse
from classwise.testing import assert_component, assert_passes, check_component, check_policy
from classwise.testing.component import CHECKS

GIVEN: dict[tuple[str, str], Any] = {
    ("policy", "combined"): Combined(members=(CalibratedRadius(begin=0), KLDRO(tau=0.2)))
}
"""Components that cannot be made without arguments, with some that make them."""

BUILT_IN = [
    (kind, name)
    for kind in CHECKS
    for name in registry.names(kind)
    if registry.get(kind, name).__module__.startswith("classwise.")
]
FORMS = [
    KLDRO(tau=math.inf),
    CalibratedRadius(begin=0, offset=0.0),
    Combined(members=(Fixed(), CalibratedRadius(begin=1))),
    Trades(beta=0.0),
    Trades(divided=True),
    PGD(steps=1, start="none", relative_step=1.0),
    PGD(loss="kl", start="gauss", step_from="sample"),
    PGD(bn_mode="train"),
    EpochEMA(decay=0.0, start=3, buffers="copy"),
    NoWorse(rule=Last()),
    LogitBias(rounds=1),
    Interpolation(steps=1),
    GaussianNoise(sigma=0.5),
]
SLOW_FORMS = [
    KLDRO(score="error", direction="forward", tau=0.0, stage_epochs=(1,), stage_taus=(0.5,)),
    KLDRO(score="cross-entropy", tau=2.0, scores="sample-sums", missing="minus-one", normaliser="all"),
    Combined(members=(KLDRO(), KLDRO(tau=0.1), CalibratedRadius(begin=2))),
    PGD(loss="margin", stop_when_fooled=True, restarts=2, start="uniform"),
    APGD(loss="targeted-dlr", targets=2, restarts=2),
    FAB(targets=2),
]


def test_the_sweep_covers_every_kind_with_a_contract() -> None:
    assert {kind for kind, _ in BUILT_IN} == set(CHECKS)
    assert len(BUILT_IN) >= 25
    assert {"policy", "objective", "attack", "averaging", "mixing", "perturbation", "selection", "repair"} == set(
        CHECKS
    )


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_built_in_component_keeps_its_contract(kind: str, name: str) -> None:
    findings = check_component(GIVEN.get((kind, name), f"{kind}={name}"))
    assert_passes(findings)
    assert len(findings) > 6


@pytest.mark.parametrize("component", FORMS, ids=lambda each: str(each)[:60])
def test_other_forms_keep_it_too(component: Any) -> None:
    assert_component(component)


@pytest.mark.slow
def test_every_component_of_every_recipe_keeps_its_contract() -> None:
    found = {}
    for name in registry.names("recipe"):
        if registry.get("recipe", name).__module__.startswith("classwise."):
            parts = vars(recipe(name)).values()
            found |= {repr(part): part for part in parts if getattr(part, "kind", "") in CHECKS}
    assert len(found) >= 60
    for component in found.values():
        failed = [finding.explanation for finding in check_component(component) if not finding.passed]
        assert not failed, (component, failed)


@pytest.mark.slow
@pytest.mark.parametrize("component", SLOW_FORMS, ids=lambda each: str(each)[:60])
def test_other_forms_that_take_longer_keep_it_too(component: Any) -> None:
    assert_component(component)


def test_a_policy_with_a_value_per_group_is_checked_with_its_number_of_groups() -> None:
    findings = {finding.name: finding for finding in check_policy(Fixed(radius=(1, 2, 3)), groups=(3,))}
    assert findings.pop("permutes").passed is False  # it names single groups, on purpose
    assert_passes(tuple(findings.values()))
    failed = [finding for finding in check_policy(Fixed(radius=(1, 2, 3))) if not finding.passed]
    assert [finding.name for finding in failed] == ["runs"]
    assert "policy.radius has 3 values: give one for each of the 2 groups" in failed[0].seen
    assert "check_policy(policy, groups=(3,))" in failed[0].mend


@pytest.mark.parametrize("kind", ["data", "augmentation", "model", "optimizer", "schedule"])
def test_of_other_kinds_the_settings_are_checked(kind: str) -> None:
    name = next(name for name in registry.names(kind) if registry.get(kind, name).__module__.startswith("classwise."))
    findings = check_component(f"{kind}={name}")
    assert [finding.name for finding in findings] == ["complete", "configured", "registered", "yaml"]
    assert_passes(findings)


def test_checking_leaves_the_generators_as_they_were() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    for name in (
        "policy=kl-dro",
        "attack=pgd",
        "objective=trades",
        "averaging=ema",
        "mixing=smoothing",
        "perturbation=none",
    ):
        check_component(name)
    assert torch.equal(torch.rand(4), expected)
