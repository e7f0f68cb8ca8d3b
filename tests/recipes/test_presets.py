"""Presets: what each recipe sets, where paper and published code disagree, and the page that says so."""

import dataclasses
import importlib.util
import itertools
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from classwise import registry
from classwise.configuration import Component
from classwise.recipes import recipe
from classwise.recipes.disagreements import DISAGREEMENTS, Disagreement
from classwise.training import TrainConfig

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "presets.md").read_text(encoding="utf-8")
ITEMS = [item for items in DISAGREEMENTS.values() for item in items]
WITH_KEYS = [item for item in ITEMS if item.keys]
MODULES = ("frl", "cfa", "faal", "mixup", "companions")
"""Modules of recipes, in the order of the sections of the page."""
ENDS = ("", "-paper", "-published-code")
FAMILIES = {
    "frl-rw": ENDS,
    "frl-rm": ENDS,
    "frl-rmrw": ENDS,
    "frl-v1": ENDS[:1],
    "baseline-reweight": ENDS[:2],
    "cfa-at": ENDS,
    "cfa-trades": ENDS,
    "cfa-fat": ENDS,
    "cfa-plain-trades": ENDS,
    "faal-at": ENDS,
    "faal-trades": ENDS,
    "faal-mart": ENDS,
    "faal-at-awp": ENDS,
    "faal-trades-awp": ENDS,
    "faal-at-scratch": ENDS[:2],
    "mixup-at": ENDS[:2],
    "trades": ENDS[:1],
    "mart": ENDS[:1],
    "fat": ENDS[:1],
    "fat-trades": ENDS[:1],
    "awp-at": ENDS[:1],
    "awp-trades": ENDS[:1],
    "wat": ("", "-published-code"),
    "dafa": ENDS[:1],
    "dafa-at": ENDS[:1],
    "var-at": ("", "-published-code"),
    "var-trades": ("", "-published-code"),
    "absld": ENDS[:1],
}
"""Method → its presets. No code was published for some; the texts of others were not read."""

WEIGHTS, MARGIN = "policy.members.0", "policy.members.1"
PRINTED: list[tuple[str, dict[str, Any]]] = [
    (
        "frl-rmrw-paper",
        {
            f"{WEIGHTS}.rate_clean": 0.05,
            f"{WEIGHTS}.rate_boundary": 0.05,
            f"{MARGIN}.rate": 0.05,
            f"{MARGIN}.relative": False,
            f"{MARGIN}.high": 16 / 8,
            f"{MARGIN}.windup": False,
            f"{WEIGHTS}.cap": 0,
            f"{WEIGHTS}.rate_decay": 0.1,
            f"{WEIGHTS}.decay_epochs": (40, 80),
            f"{WEIGHTS}.stop": True,
            "optimizer.lr": 1e-3,
            "split.at_least": 300,
            "epochs": 120,
        },
    ),
    (
        "frl-rmrw-published-code",
        {
            f"{WEIGHTS}.rate_clean": 0.05,
            f"{WEIGHTS}.rate_boundary": 0.1,
            f"{MARGIN}.rate": 0.4,
            f"{MARGIN}.relative": True,
            f"{MARGIN}.low": 0.98,
            f"{MARGIN}.high": 3.0,
            f"{MARGIN}.windup": True,
            f"{MARGIN}.decay_epochs": (),
            f"{WEIGHTS}.cap": 0.5,
            f"{WEIGHTS}.slack_clean": 0.07,
            "adversary.step_from": "batch",
            "objective.beta": 1.5,
            "split.choice": "last",
            "epochs": 40,
        },
    ),
    (
        "frl-rw-published-code",
        {"policy.slack_clean": 0.1, "policy.slack_boundary": 0.1, "adversary.step_from": "threat"},
    ),
    (
        "frl-rm-published-code",
        {f"{WEIGHTS}.rate_boundary": 0, f"{WEIGHTS}.cap": 0.3, f"{MARGIN}.rate": 0.2, f"{MARGIN}.high": 2.5},
    ),
    ("frl-v1", {f"{WEIGHTS}.slack_clean": 0.05, f"{WEIGHTS}.slack_boundary": 0.07, f"{WEIGHTS}.relative": False}),
    ("baseline-reweight-paper", {"policy.rule": "best-response"}),
    (
        "cfa-at-paper",
        {
            "averaging.decay": 0.85,
            "averaging.threshold": 0.2,
            "averaging.start": 50,
            "policy.begin": 1,
            "policy.offset": 0.5,
        }
        | {"split.fraction": 0.02, "adversary.bn_mode": "eval"},
    ),
    (
        "cfa-at-published-code",
        {
            "averaging.decay": 0.88,
            "averaging.threshold": 0.24,
            "averaging.start": 0,
            "policy.begin": 10,
            "policy.offset": 0.5,
        }
        | {
            "split.choice": "first",
            "adversary.bn_mode": "train",
            "augmentation.mode": "reflect",
            "policy.counts": "balanced",
        },
    ),
    (
        "cfa-trades-paper",
        {f"{WEIGHTS}.offset": 0.3, f"{MARGIN}.offset": 0.5, f"{MARGIN}.begin": 1, "objective.beta": 6},
    ),
    ("cfa-trades-published-code", {f"{WEIGHTS}.offset": 0.5, "objective.divided": True, "adversary.bn_mode": "eval"}),
    ("cfa-fat-paper", {"policy.offset": 0.7, "adversary.rule": "original"}),
    ("cfa-fat-published-code", {"policy.offset": 0.5, "adversary.rule": "cfa", "adversary.budget": 3}),
    ("cfa-plain-trades", {"objective.divided": False}),
    ("faal-at-paper", {"policy.tau": 0.5, "adversary.start": "none", "policy.scores": "class-means", "epochs": 2}),
    ("faal-at-published-code", {"policy.tau": 0.5, "policy.scores": "sample-sums", "policy.normaliser": "all"}),
    (
        "faal-at",
        {"policy.missing": "exclude", "policy.normaliser": "present", "optimizer.lr": 0.01, "schedule.drops": (1,)},
    ),
    ("faal-mart-published-code", {"adversary.loss": "kl", "objective.beta": 6}),
    ("faal-mart", {"adversary.loss": "matched"}),
    ("faal-at-awp", {"perturbation.gamma": 0.005}),
    ("faal-at-awp-paper", {"perturbation.gamma": 0.01}),
    (
        "faal-at-scratch-paper",
        {"policy.stage_epochs": (100, 150), "policy.stage_taus": (0.25, 0.5), "averaging.start": 100},
    ),
    ("mixup-at-paper", {"adversary.steps": 1, "adversary.relative_step": 1, "optimizer.lr": 1e-3, "batch_size": 256}),
    (
        "wat-published-code",
        {"policy.counted": "batches", "policy.rate": 0.1, "split.choice": "last", "objective.beta": 6},
    ),
    ("wat", {"policy.counted": "samples", "threat.radius": 0.031, "adversary.step_size": 0.007}),
    ("dafa", {"policy.strength": 1, "policy.warmup": 70, "optimizer.nesterov": True, "optimizer.weight_decay": 5e-4}),
    ("dafa-at", {"adversary.start": "gauss"}),
    ("var-at-published-code", {"objective.slots": 100, "objective.alpha": 0.1, "batch_size": 512}),
    ("var-trades", {"objective.slots": 0, "objective.base.beta": 6}),
    ("fat", {"adversary.budget": 0, "adversary.budget_epochs": (50, 90), "adversary.jitter": 0.001}),
    ("fat-trades", {"adversary.jitter": 0, "objective.beta": 6}),
    ("awp-at", {"perturbation.gamma": 0.01, "perturbation.begin": 0, "threat.radius": 8 / 255}),
    ("awp-trades", {"perturbation.gamma": 0.005, "perturbation.begin": 9}),
    ("mart", {"objective.beta": 5, "optimizer.lr": 0.01, "optimizer.weight_decay": 3.5e-3, "threat.radius": 0.031}),
    ("trades", {"objective.beta": 6, "epochs": 76, "optimizer.weight_decay": 2e-4}),
    ("absld", {"objective.robust_share": 5 / 6, "policy.rate": 0.1, "policy.low": 0.5, "policy.high": 5}),
]
"""Values as papers print them and code has them, written down here once more."""


def at(config: TrainConfig, key: str) -> Any:
    """What stands at a dotted key; the name of a component by ".name"."""
    found: Any = config
    for part in key.split("."):
        if isinstance(found, tuple):
            found = found[int(part)]
        elif part == "name":
            found = found.registered_name
        else:
            found = getattr(found, part)
    return found


def existing(family: str) -> dict[str, TrainConfig]:
    return {end: registry.get("recipe", family + end)() for end in FAMILIES[family]}


def leaves(value: Any, where: str = "") -> dict[str, Any]:
    """Every dotted key of a configuration."""
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        parts = {str(i): each for i, each in enumerate(value)}
    elif dataclasses.is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        return {where: value}
    own = {f"{where}.name": value.registered_name} if isinstance(value, Component) else {}
    return own | {
        key: each for name, part in parts.items() for key, each in leaves(part, f"{where}.{name}".strip(".")).items()
    }


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_presets", DOCS / "make_presets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recipes_are_those_of_the_list_and_no_others() -> None:
    homes = [f"classwise.recipes.{name}" for name in MODULES]
    found = {name for name in registry.names("recipe") if registry.get("recipe", name).__module__ in homes}
    assert found == {family + end for family, ends in FAMILIES.items() for end in ends}
    assert len(found) == 58


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_of_a_family_differ(family: str) -> None:
    configs = existing(family)
    if {"-paper", "-published-code"} <= set(configs):
        assert configs["-paper"] != configs["-published-code"]
    elif len(configs) == 2:
        assert len({repr(config) for config in configs.values()}) == 2
    for config in configs.values():
        assert config.data.registered_name == "cifar10"
        assert config.selection.registered_name in ("last", "best-worst", "best-sum", "no-worse")


REPAIRS = {*(name for name in FAMILIES if name.startswith(("frl-r", "baseline", "faal"))), "digits-faal"} - {
    "faal-at-scratch"
}


@pytest.mark.parametrize("name", registry.names("recipe"))
def test_recommended_repairs_are_guarded_and_nothing_else(name: str) -> None:
    """What papers print and their code does hands out what its rule likes; so does training from scratch."""
    alone = ("logit-bias", "last-layer-scale", "interpolation")
    guarded = name in REPAIRS or name.removeprefix("digits-") in alone
    assert recipe(name).selection.keeps_start == guarded


@pytest.mark.parametrize(("name", "values"), PRINTED, ids=[name for name, _ in PRINTED])
def test_values_are_those_of_the_source(name: str, values: dict[str, Any]) -> None:
    assert {key: at(recipe(name), key) for key in values} == values


def test_every_disagreement_is_listed_and_on_the_page_once() -> None:
    assert [item.number for item in ITEMS if item.number < 35] == list(range(1, 35))
    assert sorted(item.number for item in ITEMS) == list(range(1, 46))
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert sorted(int(line.split("|")[1]) for line in rows) == list(range(1, 46))
    for item in ITEMS:
        assert PAGE.count(item.about) == 1
        (row,) = [line for line in rows if line.startswith(f"| {item.number} |")]
        assert item.ours in row
        assert all(f"`{key}`" in row for key in item.keys)


@pytest.mark.parametrize("item", WITH_KEYS, ids=lambda item: str(item.number))
def test_what_is_declared_to_differ_differs(item: Disagreement) -> None:
    configs = existing(item.recipe)
    for key in item.keys:
        values = {end: at(config, key) for end, config in configs.items()}
        if item.apart == "sources":
            assert values["-paper"] != values["-published-code"], key
        else:
            assert all(value != values[""] for end, value in values.items() if end), key


def test_most_disagreements_are_keys() -> None:
    assert len(WITH_KEYS) == 28
    assert all(item.ours and (bool(item.recipe) == bool(item.keys)) for item in ITEMS)


def test_the_page_is_what_the_generator_makes(generator: ModuleType) -> None:
    assert generator.page() == PAGE, "run python docs/make_presets.py"


def test_the_page_has_every_key_that_differs() -> None:
    """By another walk through the configurations than the generator's."""
    shown: dict[tuple[str, str], list[list[str]]] = {}
    for module, section in zip(MODULES, PAGE.split("\n## ")[1:], strict=True):
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| `"):
                shown.setdefault((module, cells[0].strip("`")), []).append(cells[1:])
    swept = 0
    for family, ends in FAMILIES.items():
        module = registry.get("recipe", family).__module__.rpartition(".")[2]
        trees = {end: leaves(config) for end, config in existing(family).items()}
        for key in set.intersection(*(set(tree) for tree in trees.values())):
            if len({repr(tree[key]) for tree in trees.values()}) == 1:
                continue
            swept += 1
            rows = [cells for cells in shown[module, key] if cells[0] == "all" or f"`{family}`" in cells[0]]
            assert len(rows) == 1, (family, key)
            for end, cell in zip(ENDS, rows[0][1:], strict=True):
                assert (cell == "–") == (end not in ends)
                value = trees.get(end, {}).get(key)
                if isinstance(value, bool):
                    assert cell == str(value).lower()
                elif isinstance(value, float | int):
                    assert cell == str(value)
    assert swept > 120


def test_tables_of_the_page_are_whole() -> None:
    lines = PAGE.splitlines()
    for above, line in itertools.pairwise(lines):
        if line.startswith("|") and above.startswith("|"):
            assert line.count("|") == above.count("|"), line
