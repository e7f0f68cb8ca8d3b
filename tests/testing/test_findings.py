"""How demands are gone through, components are named and findings are told."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from classwise import ClassPolicy, config
from classwise.perturbation import AdversarialWeights
from classwise.policies import KLDRO, CalibratedRadius, Combined, Uniform
from classwise.testing import (
    Finding,
    assert_component,
    assert_passes,
    check_attack,
    check_component,
    check_perturbation,
    check_plugin,
    check_policy,
)
from classwise.testing.demand import BreachError, demand, examine, require
from classwise.testing.drive import drive
from classwise.testing.statistics import World
from classwise.training.observe import MEASURES, VALIDATION

PLUGIN = '''
from classwise import ClassPolicy, config, register
{more}

@register("policy", "mine")
@config
class Mine(ClassPolicy):
    """Does nothing."""
'''


@demand("fits", expected="it is a number", mend="give a number")
def fits(value: object) -> None:
    require(isinstance(value, int), f"it is {value!r}")


@demand("even", expected="it is even", mend="double it", after=("fits",))
def even(value: int) -> None:
    require(value % 2 == 0, f"it is {value}", "add one" if value > 0 else "")


@demand("half", expected="half of it is below 10", mend="take less", after=("even",))
def half(value: int) -> None:
    require(20 // value < 10, f"it is {value}")


def test_what_cannot_be_judged_is_left_out_and_counted() -> None:
    demands = (fits, even, half)
    assert [finding.passed for finding in examine(4, demands)] == [True, True, True]
    (one,) = examine("x", demands)
    assert (one.name, one.passed, one.seen) == ("fits", False, "it is 'x'")
    assert one.mend == "give a number (2 further checks wait for this one)"
    assert [finding.mend for finding in examine(3, demands)] == ["", "add one (1 further check waits for this one)"]
    assert examine(-1, demands)[1].mend == "double it (1 further check waits for this one)"
    assert examine(0, demands)[2].seen.startswith("it raised ZeroDivisionError: ")
    assert "(test_findings.py, line " in examine(0, demands)[2].seen


def test_a_demand_must_come_after_those_it_names() -> None:
    with pytest.raises(AssertionError, match="even comes too early"):
        examine(3, (even, fits))


def test_the_error_of_a_test_explains_every_failure() -> None:
    passed = Finding("fits", True, "it is a number")
    failed = Finding("even", False, "it is even", "it is 3", "add one")
    assert passed.explanation == "it is a number"
    assert failed.explanation == "expected: it is even; seen: it is 3; mend: add one"
    assert_passes([passed])
    with pytest.raises(AssertionError) as caught:
        assert_passes([passed, failed])
    assert str(caught.value).splitlines() == [
        "1 of 2 contract checks failed",
        "even",
        "  expected: it is even",
        "  seen: it is 3",
        "  mend: add one",
    ]
    with pytest.raises(AssertionError, match="0 of 0"):
        assert_passes([])


@config
class Nameless(ClassPolicy):
    """Was never registered."""


@config
class Heir(Uniform):
    """Has only its parent's name."""


@pytest.mark.parametrize("policy", [Nameless, Nameless(), Heir])
def test_a_policy_without_a_name_of_its_own_is_told(policy: object) -> None:
    failed = [finding for finding in check_component(policy) if not finding.passed]
    assert [finding.name for finding in failed] == ["registered"]
    assert 'write @register("policy", "my-name")' in failed[0].mend
    with pytest.raises(AssertionError, match=r"has no name of its own"):
        assert_component(policy)


def test_a_component_is_found_however_it_is_named() -> None:
    expected = check_perturbation(AdversarialWeights())
    for named in (AdversarialWeights, "adversarial-weights", "awp"):
        assert check_perturbation(named) == expected
    for named in ("awp", "perturbation=adversarial-weights", "perturbation=awp"):
        assert check_component(named) == expected


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("kl-drop", r"there is no component of the name 'kl-drop': did you mean 'kl-dro'"),
        ("none", r"several kinds have the name 'none': write .*policy=none or mixing=none"),
        ("policy=kl-drop", r"unknown policy 'kl-drop': did you mean 'kl-dro'"),
        ("polcy=kl-dro", r"unknown kind of component 'polcy'"),
        (
            "combined",
            r"Combined cannot be made without members: check an instance, check_component\(Combined\(members=…\)\)",
        ),
        (3, r"3 is no component: give an instance or a class"),
        (dict, r"dict is no component"),
    ],
)
def test_what_cannot_be_checked_is_named_with_the_mend(named: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_component(named)


def test_a_component_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is no attack: derive it from the base class in classwise\.attacks"):
        check_attack(KLDRO())


@config
class Open(ClassPolicy):
    """Says nothing of the knobs it sets."""

    def knobs(self, state):
        return {"label": torch.tensor([2.0, 2.0])}


@pytest.mark.parametrize("members", [(Open(),), (Open(), CalibratedRadius())])
def test_a_policy_may_leave_open_which_knobs_it_sets(members: tuple[ClassPolicy, ...]) -> None:
    findings = {finding.name: finding for finding in check_policy(Combined(members=members), groups=(2,))}
    assert findings["knobs"].passed
    assert findings["steers"].passed


class TestPlugin:
    def test_its_components_are_found_in_order_and_again(self, plugin: Callable[[str], Path]) -> None:
        second = PLUGIN.format(more="").replace('"mine"', '"another"').replace("Mine", "Another")
        path = plugin(
            PLUGIN.format(more="") + second.replace("from classwise import ClassPolicy, config, register", "")
        )
        found = check_plugin(path)
        assert [(each.kind, each.name, each.line, each.remark) for each in found] == [
            ("policy", "mine", 5, ""),
            ("policy", "another", 13, ""),
        ]
        assert all(finding.passed for each in found for finding in each.findings)
        assert [each.name for each in check_plugin(path)] == ["mine", "another"]

    def test_one_that_registers_nothing_is_refused(self, plugin: Callable[[str], Path]) -> None:
        with pytest.raises(ValueError, match=r'registers no component: write @register\("policy", "my-name"\)'):
            check_plugin(plugin("x = 3"))

    def test_what_cannot_be_made_from_its_name_is_said(self, plugin: Callable[[str], Path]) -> None:
        (found,) = check_plugin(plugin(PLUGIN.format(more="") + '\n    rate: float\n    """Needed."""\n'))
        assert found.findings == ()
        assert found.remark.startswith("not checked: it cannot be made without rate;")
        assert "check_component(Mine(rate=…))" in found.remark

    def test_defaults_that_are_refused_are_a_failure(self, plugin: Callable[[str], Path]) -> None:
        text = "\n    rate: float = -1.0\n\n    def check(self):\n        raise ValueError('rate -1.0: give a positive one')\n"
        (found,) = check_plugin(plugin(PLUGIN.format(more="") + text))
        (finding,) = found.findings
        assert (finding.name, finding.seen, finding.mend) == ("made", "rate -1.0", "give a positive one")

    def test_a_class_of_no_kind_is_a_failure(self, plugin: Callable[[str], Path]) -> None:
        (found,) = check_plugin(plugin(PLUGIN.format(more="").replace("Mine(ClassPolicy)", "Mine")))
        (finding,) = found.findings
        assert (finding.name, finding.passed) == ("made", False)
        assert "is no component" in finding.seen

    def test_recipes_and_other_kinds_say_what_was_not_checked(self, plugin: Callable[[str], Path]) -> None:
        more = (
            "from classwise.training.schedule import Schedule\n"
            '@register("recipe", "my-recipe")\ndef my_recipe():\n    """Nothing."""\n\n'
            '@register("schedule", "my-schedule")\n@config\nclass Flat(Schedule):\n    """Flat."""\n\n'
            "    def factor(self, epoch, epochs):\n        return 1.0\n"
        )
        recipe, schedule, _ = check_plugin(plugin(PLUGIN.format(more=more)))
        assert (recipe.findings, recipe.remark) == ((), "not checked: a recipe has no contract to check")
        assert schedule.remark == "only its settings were checked: a schedule has no other contract to check"
        assert all(finding.passed for finding in schedule.findings)


class TestWorld:
    def test_every_statistic_can_be_made_up(self) -> None:
        needs = {f"{when}_{measure}" for when in ("train", "batch") for measure in (*MEASURES, "count")}
        needs |= {f"validation_{measure}" for measure in (*VALIDATION, "count")}
        seen = {}
        for hook in ("on_start", "on_epoch", "on_batch"):
            seen |= World(4).measure(hook, needs, 3)
        assert seen.keys() == needs | {"epoch"}
        assert all(bool(value.isfinite().all()) for value in seen.values())
        assert seen["train_probabilities"].shape == (4, 5)
        assert float((seen["train_probabilities"].sum(1) - 1).abs().max()) < 1e-12
        assert bool((seen["train_robust"] <= seen["train_clean"]).all())
        assert bool((seen["train_robust"] + seen["train_error"] == 1).all())

    def test_a_permuted_world_has_the_same_values_elsewhere(self) -> None:
        order = (2, 0, 3, 1)
        needs = {"train_robust", "train_probabilities", "validation_label_loss", "train_count"}
        straight, mixed = (World(4, True, each, "absent").measure("on_epoch", needs, 6) for each in ((), order))
        rows = list(order)
        assert straight["train_robust"][rows].equal(mixed["train_robust"])
        assert straight["train_probabilities"][rows][:, rows].equal(mixed["train_probabilities"])
        assert int((straight["train_count"] == 0).sum()) in (1, 3)
        assert bool((straight["train_robust"][straight["train_count"] == 0] == 0).all())

    def test_validation_lacks_groups_as_in_the_loop(self) -> None:
        stats = World(4, course="absent").measure("on_start", {"validation_robust", "validation_count"}, -1)
        assert bool((stats["validation_robust"].isnan() == (stats["validation_count"] == 0)).all())

    def test_what_is_handed_out_may_be_changed_without_harm(self) -> None:
        world = World(3)
        world.measure("on_epoch", {"train_robust"}, 0)["train_robust"].zero_()
        assert bool((world.measure("on_epoch", {"train_robust"}, 0)["train_robust"] > 0).all())

    def test_a_drive_calls_the_hooks_as_the_loop_does(self) -> None:
        calls = []

        def watch(hook, method, *arguments):
            epoch = int(arguments[-1]["epoch"]) if hook.startswith("on_") else None
            calls.append((hook, epoch))
            return method(*arguments)

        drive(KLDRO(), World(3), watch, epochs=2)
        one = [("knobs", None), ("on_batch", 0), ("on_batch", 0), ("on_epoch", 0)]
        two = [("knobs", None), ("on_batch", 1), ("on_batch", 1), ("on_epoch", 1)]
        assert calls == [("init", None), ("on_start", -1), *one, *two, ("knobs", None)]


def test_a_breach_keeps_what_was_seen() -> None:
    breach = BreachError("it is 3", "add one")
    assert (str(breach), breach.seen, breach.mend) == ("it is 3", "it is 3", "add one")


def test_the_core_does_not_import_the_checks() -> None:
    code = (
        "import sys, classwise, classwise.api, classwise.training.loop, classwise.recipes, classwise.cli.check\n"
        "assert not [name for name in sys.modules if name.startswith('classwise.testing')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    source = Path(__file__).parents[2] / "src" / "classwise"
    importing = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if "classwise.testing" in path.read_text(encoding="utf-8") and path.parent.name != "testing"
    }
    assert importing == {"cli/check.py"}
