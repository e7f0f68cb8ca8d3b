"""The page on effects says what the stored cells say, and shows what is unfinished as unfinished."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import make_effects_page
from classwise.configuration import replace
from effects_cells import Folder
from effects_methods import METHODS, NULL, Part, digits_part

ROOT = Path(__file__).parents[2]
LABELS = bytes([0] * 50 + [1] * 50)
PLAN = {
    "command": "python benchmarks/effects.py digits --abacus",
    "starts": 2,
    "start": "",
    "start_epochs": 30,
    "epochs": 4,
    "config": {"model": {"name": "net"}, "adversary": {"steps": 10}},
    "threat": "linf 0.1",
    "suite": "quick",
    "train_images": 800,
    "validation_images": 400,
    "test_images": 100,
    "class_names": ["cat", "dog"],
    "labels": LABELS.hex(),
    "labels_sha256": "sum",
}
ACTED = {"weight": {"first": 1, "epochs": 3}}
Bools = NDArray[np.bool_]


def verdicts(cats: int, dogs: int) -> Bools:
    """So many of the 50 of each class are right."""
    return np.arange(100) % 50 < np.array([cats] * 50 + [dogs] * 50)


class Stand(Folder):
    """A folder of stand-in cells."""

    def put(self, method: str, seed: int, robust: tuple[int, int], **changed: Any) -> None:
        planned = METHODS.get(method)
        facts = {
            "label": method,
            "base": planned.base if planned else None,
            "trained": not (planned and planned.after_base),
            "labels_sha256": "sum",
            "seconds": {"train": 50.0, "audit": 10.0},
            "epochs": 4,
            "acted": ACTED if planned else {},
            "averaged_epochs": 0,
            "config": {"averaging": {"name": "none"}, "mixing": {"name": "none"}},
        }
        self.write(method, seed, verdicts(50, 45), verdicts(*robust), facts | changed)
        file = self.file(method, seed)
        result = json.loads(file.read_text())
        result |= {"date": "2030-01-02", "versions": {"torch": "9.9"}}
        result["hardware"] = {"processor": "Abacus", "threads": 1, "gpu": None}
        file.write_text(json.dumps(result))


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    folder = Stand(tmp_path / "digits")
    folder.begin(PLAN)
    return folder


def part(*methods: str) -> Part:
    return replace(digits_part(), methods=methods)


def row(text: str, label: str, table: int) -> list[str]:
    """Cells of the row of a label in one of the tables."""
    found = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found[table].strip("|").split("|")]


def test_the_page_is_what_the_stored_cells_make() -> None:
    written = (ROOT / "docs" / "effects.md").read_text(encoding="utf-8")
    made = make_effects_page.page(ROOT / "benchmarks" / "results" / "effects")
    assert written == made, "run benchmarks/make_effects_page.py"


def test_a_part_that_was_not_begun_is_shown_as_unfinished(tmp_path: Path) -> None:
    text = make_effects_page.section(digits_part(), Folder(tmp_path / "digits"))
    assert "python benchmarks/effects.py digits\n" in text
    assert "Unfinished: no cell has been measured yet." in text
    flowing = " ".join(text.split())
    assert all(METHODS[name].label in flowing for name in digits_part().methods)
    assert "|" not in text


def test_figures_reach_the_page(stand: Stand) -> None:
    for seed, dogs in ((0, 20), (1, 22)):
        stand.put("pgd-at", seed, (30, dogs))
        stand.put("faal", seed, (31, dogs + 20))
    text = make_effects_page.section(part("faal"), stand)
    label = METHODS["faal"].label
    assert PLAN["command"] in text
    assert "Measured on 2030-01-02: Abacus, 1 thread, torch 9.9. 4 cells took 4 minutes in all." in " ".join(
        text.split()
    )
    levels = row(text, label, 0)
    # (31 + 40) and (31 + 42) of 100; worst class 31 of 50 in both
    assert levels[1] == "2"
    assert levels[2].startswith("72.0 [")
    assert levels[3].startswith("62.0 [")
    assert levels[4].startswith("95.0 [")
    assert levels[5].startswith("90.0 [")
    assert levels[6:] == ["cat (2)", "weight from epoch 2, 3 of 4"]
    assert row(text, "PGD-AT alone", 0)[6:] == ["dog (2)", ""]
    change = row(text, label, 1)
    assert change[1:3] == ["PGD-AT", "2"]
    assert change[3].startswith("**+21.0 [")
    assert change[4].startswith("**+20.0 [")  # (62 - 40 + 62 - 44) / 2
    assert change[5].startswith("+0.0 [")
    assert change[7] == "unfinished"
    flowing = " ".join(text.split())
    assert f"Robust, average: higher than with the base method: {label}." in flowing
    assert "Clean, worst class: no difference is shown." in flowing
    assert f"- Unfinished: {METHODS['faal'].label}" not in text


def test_unfinished_cells_are_shown_as_unfinished(stand: Stand) -> None:
    stand.put("pgd-at", 0, (30, 20))
    stand.put("faal", 0, (31, 40))
    stand.put("faal", 1, (31, 40))  # from a start of which there is no base yet
    text = make_effects_page.section(part("faal", "ccm", "wat"), stand)
    assert row(text, METHODS["faal"].label, 0)[1] == "2"
    assert row(text, "PGD-AT alone", 0)[1] == "unfinished (1 of 2)"
    assert row(text, "TRADES (beta 6) alone", 0) == ["TRADES (beta 6) alone", "unfinished (0 of 2)", *[""] * 6]
    assert row(text, METHODS["faal"].label, 1)[2] == "unfinished (1 of 2)"
    assert row(text, METHODS["faal"].label, 1)[3].startswith("+21.0 (images ±")  # one start: no bracket, never bold
    for name, base in (("ccm", "PGD-AT"), ("wat", "TRADES (beta 6)")):
        assert row(text, METHODS[name].label, 1) == [METHODS[name].label, base, "unfinished (0 of 2)", *[""] * 5]
    flowing = " ".join(text.split())
    assert f"Unfinished: {METHODS['faal'].label}, {METHODS['ccm'].label}, {METHODS['wat'].label}." in flowing
    assert "**+" not in text


def test_only_starts_of_both_are_compared(stand: Stand) -> None:
    stand.put("pgd-at", 0, (30, 20))
    stand.put("pgd-at", 1, (30, 20))
    stand.put("faal", 1, (40, 30))
    assert row(make_effects_page.section(part("faal"), stand), METHODS["faal"].label, 1)[3].startswith("+20.0")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"acted": {}}, "**never acted**"),
        (
            {"acted": {}, "config": {"averaging": {"name": "none"}, "mixing": {"name": "same-class-mixup"}}},
            "mixing in every epoch",
        ),
        ({"acted": {"radius": {"first": 3, "epochs": 1}}}, "**radius from epoch 4, 1 of 4**"),
        (
            {
                "acted": {},
                "averaged_epochs": 4,
                "config": {"averaging": {"name": "gated-ema"}, "mixing": {"name": "none"}},
            },
            "average from epoch 1, 4 of 4",
        ),
        (
            {"averaged_epochs": 0, "config": {"averaging": {"name": "gated-ema"}, "mixing": {"name": "none"}}},
            "weight from epoch 2, 3 of 4; **average not",
        ),
    ],
)
def test_what_acted_too_little_is_told(stand: Stand, changed: dict[str, Any], told: str) -> None:
    stand.put("pgd-at", 0, (30, 20))
    stand.put("ccm", 0, (30, 20), **changed)
    text = make_effects_page.section(part("ccm"), stand)
    assert row(text, METHODS["ccm"].label, 0)[-1].startswith(told)
    assert ("fewer than half of the epochs" in " ".join(text.split())) == ("**" in told)


def test_a_mechanism_that_acted_in_one_start_only_is_told(stand: Stand) -> None:
    for seed in (0, 1):
        stand.put("ccm", seed, (30, 20), acted=ACTED if seed else {})
    told = row(make_effects_page.section(part("ccm"), stand), METHODS["ccm"].label, 0)[-1]
    assert told == "**weight not in every start**"


def test_the_share_that_a_logit_bias_reaches(stand: Stand) -> None:
    for seed in (0, 1):
        stand.put("pgd-at", seed, (40, 10 + seed))
        stand.put("faal", seed, (40, 30 + seed))
        stand.put("ccm", seed, (40, 10 + seed))
        stand.put(NULL, seed, (40, 15 + seed))
    for name, dogs in (("faal", 40), (NULL, 10)):
        stand.put(name, 2, (40, dogs))  # without a base there is no gain to have a share of
    text = make_effects_page.section(part("faal", "ccm", NULL), stand)
    assert row(text, METHODS["faal"].label, 1)[-1] == "25 %"  # 5 of 20 images
    assert row(text, METHODS["ccm"].label, 1)[-1] == "no gain shown"
    null = make_effects_page._name(NULL)
    assert row(text, null, 1)[-1] == ""
    assert row(text, null, 0)[-1] == ""  # no policy, so none that could have acted
    assert "no null model has been measured" not in " ".join(text.split())


def test_cells_that_were_not_planned_are_shown_too(stand: Stand) -> None:
    stand.put("pgd-at", 0, (30, 20))
    stand.put("of-ones-own", 0, (31, 40), base="pgd-at", label="a method of one's own")
    text = make_effects_page.section(part("faal"), stand)
    assert row(text, "a method of one's own", 1)[3].startswith("+21.0")


def test_prose_is_no_wider_than_in_other_files(stand: Stand) -> None:
    stand.put("pgd-at", 0, (30, 20))
    page = make_effects_page.page(stand.path.parent)
    wide = [line for line in page.splitlines() if len(line) > 132 and not line.startswith("|")]
    assert not wide
    assert not re.search(r"\bnan\b|None", page)
