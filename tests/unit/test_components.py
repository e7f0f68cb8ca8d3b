"""Everything that has a name: recipes and components, their plain form and its way back."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import yaml

import classwise as cw
from classwise import registry
from classwise.configuration import from_plain, from_yaml, to_plain, to_yaml
from classwise.recipes import recipe
from classwise.training import TrainConfig

RECIPES = [
    name for name in registry.names("recipe") if registry.get("recipe", name).__module__.startswith("classwise.")
]
COMPONENTS = [
    (kind, name)
    for kind in registry.HOMES
    if kind != "recipe"
    for name in registry.names(kind)
    if registry.get(kind, name).__module__.startswith("classwise.")  # other tests register some of their own
]
NEEDS_FIELDS = {
    ("policy", "combined"): {"members": [{"name": "uniform"}]},
    ("model", "huggingface"): {"checkpoint": "organisation/name"},
    ("model", "import"): {"path": "package.module:function"},
    ("model", "robustbench"): {"model": "Standard"},
    ("model", "timm"): {"architecture": "resnet18"},
    ("model", "torchvision"): {"architecture": "resnet18"},
}
"""Components that cannot be made from their name alone, with the least that makes them."""


def base_of(component: type) -> type:
    return next(each for each in component.__mro__ if "kind" in vars(each))


def test_the_sweeps_below_cover_every_name() -> None:
    assert len(RECIPES) >= 11
    assert len(COMPONENTS) >= 30
    assert {kind for kind, _ in COMPONENTS} == set(registry.HOMES) - {"recipe"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_yaml(name: str, tmp_path: Path) -> None:
    config = recipe(name)
    assert config.recipe == name
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert from_yaml(TrainConfig, tmp_path / "config.yaml") == config


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    assert (registry.get("recipe", name).__doc__ or "").strip()


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=lambda each: str(each))
def test_a_component_is_made_from_its_name_and_survives_its_plain_form(kind: str, name: str) -> None:
    component = registry.get(kind, name)
    made = from_plain(base_of(component), {"name": name, **NEEDS_FIELDS.get((kind, name), {})})
    assert type(made) is component
    assert dataclasses.is_dataclass(made)
    assert component.__dataclass_params__.frozen
    written = yaml.safe_load(yaml.safe_dump(to_plain(made)))
    assert written["name"] == name
    assert from_plain(base_of(component), written) == made
    if (kind, name) in NEEDS_FIELDS:
        with pytest.raises(ValueError, match="is missing"):
            from_plain(base_of(component), name)


def test_every_field_of_a_component_has_a_description() -> None:
    silent = []
    for kind, name in COMPONENTS:
        component = registry.get(kind, name)
        for each in component.__mro__:
            own = vars(each).get("__annotations__", {})
            source = inspect.getsource(each) if own and each.__module__.startswith("classwise.") else ""
            for field in dataclasses.fields(component):
                if field.name in own and source and not re.search(rf"^    {field.name}: .*\n    \"\"\"", source, re.M):
                    silent.append(f"{each.__name__}.{field.name}")
    assert not silent


def test_aliases_find_the_same_component() -> None:
    assert registry.get("policy", "faal") is registry.get("policy", "kl-dro")
    assert registry.aliases("policy", "kl-dro") == ["faal"]
    assert from_plain(cw.ClassPolicy, "faal") == cw.policies.KLDRO()


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown policy 'kl-droo': did you mean 'kl-dro'"):
        registry.get("policy", "kl-droo")
    with pytest.raises(ValueError, match=r"unknown recipe 'digits-pgdat': did you mean 'digits-pgd-at'"):
        recipe("digits-pgdat")
    with pytest.raises(ValueError, match=r"unknown kind of component 'polic'"):
        registry.register("polic", "x")


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"already registered by classwise\.policies\.kl_dro\.KLDRO"):
        registry.register("policy", "faal")(cw.policies.Uniform)
    assert registry.get("policy", "faal") is cw.policies.KLDRO
