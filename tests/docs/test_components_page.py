"""Every component says where it comes from and what it costs, and the page of components says what they say."""

from pathlib import Path

import make_components
import pytest

from classwise import registry

ROOT = Path(__file__).parents[2]
NULL = {"none", "uniform"}
SAID = {
    "objective": ("Source:", "Departures:", "Costs:"),
    "policy": ("Source:", "Departures:", "Observes:", "Costs:"),
    "mixing": ("Source:", "Departures:", "Costs:"),
    "perturbation": ("Source:", "Departures:", "Costs:"),
    "averaging": ("Source:", "Departures:", "Costs:"),
    "repair": ("Source:", "Departures:", "Costs:"),
}
COMPONENTS = [(kind, name) for kind in SAID for name in make_components.names(kind) if name not in NULL]


def test_the_page_is_what_the_components_say() -> None:
    written = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    assert written == make_components.page(), "run docs/make_components.py"


def test_every_component_and_alias_is_on_the_page() -> None:
    page = make_components.page()
    for kind in make_components.AXES:
        for name in make_components.names(kind):
            for word in (name, *registry.aliases(kind, name)):
                assert word in page
    assert len(COMPONENTS) >= 23


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=lambda each: str(each))
def test_a_component_says_its_source_departures_and_costs_in_this_order(kind: str, name: str) -> None:
    text = registry.get(kind, name).__doc__ or ""
    found = [text.find(head) for head in SAID[kind]]
    assert -1 not in found, f"{kind} {name!r} does not say {SAID[kind][found.index(-1)]}"
    assert found == sorted(found)
    assert len(text[: found[0]].split()) >= 8  # the mechanism comes first
