"""The documentation page and the checks speak of the same things."""

import re
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from classwise.evaluation.sanity import verdicts
from classwise.evaluation.sanity.verdicts import CAUSES, explained, found, in_order, not_judged

ROOT = Path(__file__).parents[2]
PAGE = ROOT / verdicts.PAGE
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, punctuation dropped, spaces to hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_check_has_a_section_and_every_section_a_check() -> None:
    assert [anchor(heading) for heading in SECTIONS] == list(CAUSES)
    assert len(CAUSES) == 12


@pytest.mark.parametrize("name", CAUSES)
def test_every_section_says_the_same_four_things(name: str) -> None:
    (text,) = [text for heading, text in SECTIONS.items() if anchor(heading) == name]
    for part in (r"\*\*Looked at:\*\*", r"\*\*Why:\*\*", r"\*\*A failing (case|model):\*\*", r"\*\*What to do:\*\*"):
        assert len(re.findall(part, text)) == 1, part


def test_links_lead_to_the_page() -> None:
    for name in CAUSES:
        path, _, section = found(name, "pass", "").link.partition("#")
        assert (ROOT / path) == PAGE
        assert section in {anchor(heading) for heading in SECTIONS}


def test_the_models_it_names_exist(defended: ModuleType) -> None:
    named = set(re.findall(r"`([A-Z]\w+)", TEXT))
    here = {name for name, value in vars(defended).items() if isinstance(value, type) and issubclass(value, nn.Module)}
    assert named <= here | {"Normalized"}
    assert here - named == {"Wrapped"}


def test_the_table_of_causes_is_the_one_that_is_used() -> None:
    rows = dict(re.findall(r"^\| ([a-z-]+) \| (.+?) \|$", TEXT, re.MULTILINE))
    groups = {
        "both checks of gradients": {"zero-gradients", "wrong-gradients"},
        "all checks that attack": {"black-box", "more-steps", "larger-radius"},
    }
    for cause in CAUSES:
        said = {name for part in rows.get(cause, "").split(", ") if part for name in groups.get(part, {part})}
        assert said == {name for name, causes in CAUSES.items() if cause in causes}, cause


def test_causes_come_before_what_they_explain() -> None:
    """So that one pass in order suffices, and explanations do not go round in circles."""
    order = ["probabilities", *CAUSES]
    for name, causes in CAUSES.items():
        for cause in causes:
            assert order.index(cause) < order.index(name)


def test_a_warning_explains_nothing() -> None:
    checks = {"zero-gradients": found("zero-gradients", "warn", "…")}
    assert explained("black-box", checks) is None
    checks = {"zero-gradients": found("zero-gradients", "fail", "…")}
    instead = explained("black-box", checks)
    assert instead is not None
    assert (instead.name, instead.verdict) == ("black-box", "pass")
    assert "zero-gradients" in instead.sentence


def test_checks_are_listed_in_a_fixed_order() -> None:
    names = ("larger-radius", "probabilities", "few-samples")
    listed = in_order({name: not_judged(name, "because") for name in names})
    assert [check.name for check in listed] == ["few-samples", "probabilities", "larger-radius"]
