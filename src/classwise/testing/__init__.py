"""The contracts of components as functions, for authors of plug-ins and for tests.

Every ``check_…`` returns findings, one per part of the contract; :func:`assert_component` and :func:`assert_passes` fail a
test where one of them did not pass, and say what was expected, what was seen and how to mend it.
"""

from classwise.testing.attack import check_attack
from classwise.testing.averaging import check_averaging
from classwise.testing.component import assert_component, check_component
from classwise.testing.finding import Finding, assert_passes
from classwise.testing.mixing import check_mixing
from classwise.testing.objective import check_objective
from classwise.testing.perturbation import check_perturbation
from classwise.testing.plugin import Examined, check_plugin
from classwise.testing.policy import check_policy
from classwise.testing.repair import check_repair
from classwise.testing.selection import check_selection

__all__ = [
    "Examined",
    "Finding",
    "assert_component",
    "assert_passes",
    "check_attack",
    "check_averaging",
    "check_component",
    "check_mixing",
    "check_objective",
    "check_perturbation",
    "check_plugin",
    "check_policy",
    "check_repair",
    "check_selection",
]
