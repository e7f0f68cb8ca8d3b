"""Every component in faults/ trips the check that its docstring names, and no other."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from classwise.testing import Examined
from classwise.testing.attack import DEMANDS as ATTACK
from classwise.testing.averaging import DEMANDS as AVERAGING
from classwise.testing.mixing import DEMANDS as MIXING
from classwise.testing.objective import DEMANDS as OBJECTIVE
from classwise.testing.perturbation import DEMANDS as PERTURBATION
from classwise.testing.policy import DEMANDS as POLICY
from classwise.testing.repair import DEMANDS as REPAIR
from classwise.testing.selection import DEMANDS as SELECTION

FOLDER = Path(__file__).with_name("faults")
DEMANDS = {
    "attack": ATTACK,
    "averaging": AVERAGING,
    "mixing": MIXING,
    "objective": OBJECTIVE,
    "perturbation": PERTURBATION,
    "policy": POLICY,
    "repair": REPAIR,
    "selection": SELECTION,
}


def faults() -> list[tuple[str, str, dict[str, str]]]:
    """File, registered name, and what the docstring says of it."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = [each.args[1].value for each in node.decorator_list if isinstance(each, ast.Call)]
                told = dict(re.findall(r"^(check|seen|mend): (.+)$", ast.get_docstring(node) or "", re.MULTILINE))
                found.append((path.name, names[0], told))
    return found


@pytest.mark.parametrize(("file", "name", "told"), [pytest.param(*each, id=each[1]) for each in faults()])
def test_a_fault_trips_its_check_and_no_other(
    file: str, name: str, told: dict[str, str], examined_once: Callable[[Path], dict[str, Examined]]
) -> None:
    examined = examined_once(FOLDER / file)[name]
    assert examined.remark == ""
    failed = [finding for finding in examined.findings if not finding.passed]
    assert [finding.name for finding in failed] == [told["check"]], failed
    assert told["seen"] in failed[0].seen
    assert told.get("mend", "") in failed[0].mend
    assert failed[0].mend
    assert failed[0].expected in failed[0].explanation


def test_every_demand_of_every_kind_is_tripped_by_a_fault(
    examined_once: Callable[[Path], dict[str, Examined]],
) -> None:
    all_examined = [each for path in sorted(FOLDER.glob("*.py")) for each in examined_once(path).values()]
    assert len(all_examined) == len(faults()) > 100
    tripped = {(each.kind, finding.name) for each in all_examined for finding in each.findings if not finding.passed}
    demanded = {(kind, demand.name) for kind, demands in DEMANDS.items() for demand in demands}
    assert len(demanded) > 55
    assert demanded - tripped == set()
    assert {"complete", "configured", "yaml"} <= {name for _, name in tripped}  # test_findings.py: "registered"
