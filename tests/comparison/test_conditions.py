"""What is not comparable is refused, and where that is forced the tables say so."""

import pytest

from classwise.comparison import overview
from classwise.report.overview_files import formatted_overview
from classwise.threat import ThreatModel, l2, linf

OTHERS = {
    "test set": {"data": "1"},
    "classes": {"names": ("cat", "dog", "cow")},
    "radius": {"threats": (linf("4/255"),)},
    "norm": {"threats": (l2(0.5),)},
    "channels": {"threats": (ThreatModel(radius="8/255", channels=(0.2, 0.3, 0.2)),)},
    "box": {"threats": (ThreatModel(radius="8/255", box=False),)},
    "suite": {"attacks": "cw-20"},
    "steps": {"attacks": "pgd-10"},
    "precision": {"precision": "mixed"},
    "seed": {},
}
SAID = {"classes": "test set", "radius": "threat model", "norm": "threat model", "channels": "threat model"}
SAID |= {"box": "threat model", "steps": "suite", "seed": "seed of the attacks"}


@pytest.fixture
def two(make_audit):
    def make(what):
        other = make_audit("b", 0.5, 0.5, 0.5, **OTHERS[what])
        if what == "seed":
            text = (other / "summary.json").read_text()
            assert text.count('"seed": 0,') == 1
            (other / "summary.json").write_text(text.replace('"seed": 0,', '"seed": 3,'))
        return [make_audit("a"), other]

    return make


@pytest.mark.parametrize("what", [each for each in OTHERS if each != "classes"])
def test_what_differs_is_refused_by_name(what, two):
    with pytest.raises(ValueError, match=f"not comparable. Different {SAID.get(what, what)}: .*--force"):
        overview(two(what))


def test_other_classes_of_the_same_images_are_refused(two):
    with pytest.raises(ValueError, match="not comparable"):
        overview(two("classes"))


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("form", ["text", "markdown", "csv", "latex", "json"])
def test_forced_the_table_itself_says_so(what, form, two):
    made = overview(two(what), force=True)
    assert not made.comparable
    assert sorted(row.letter for row in made.rows) == ["A", "B"]
    assert made.versus == ()
    shown = formatted_overview(made, form)
    said = {"csv": "no: conditions B", "json": '"comparable": false'}
    assert said.get(form, "NOT COMPARABLE, shown together because that was forced") in shown
    assert r"\textbf" not in shown


def test_a_column_in_common_is_enough(make_audit, make_run):
    paths = [make_run("at-0", attacks=("pgd-20", "cw-20")), make_audit("b", 0.5, 0.5, 0.5, attacks="cw-20")]
    made = overview(paths)
    assert made.comparable
    assert {str(row.main) for row in made.rows} == {"linf 8/255, cw-20"}
    assert [len(row.robust) for row in made.rows] == [2, 1]
    lines = [line for line in formatted_overview(made, "markdown").splitlines() if line.startswith("| b |")]
    assert lines[0].split(" | ")[4:6] == ["–", "–"]


def test_the_main_column_is_the_strongest_attack_on_the_first_threat_model(make_audit):
    from classwise.comparison.conditions import Column, Measured
    from classwise.comparison.overview import _main

    threats = (linf("4/255"), linf("8/255"))
    from .conftest import build_audit

    weak = build_audit("m", (0.6, 0.6, 0.6), threats=threats)
    strong = build_audit("m", (0.5, 0.5, 0.5), threats=threats, attacks="cw-20")
    measured = {
        Column(threat, audit.plan.attacks): Measured(audit, r)
        for audit in (weak, strong)
        for r, threat in enumerate(threats)
    }
    assert str(_main(list(measured), [measured])) == "linf 4/255, cw-20"
