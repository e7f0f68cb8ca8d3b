"""Attacks: what a subclass must write, the attacks themselves, and suites of them by name."""

from classwise.attacks.apgd import APGD
from classwise.attacks.base import Attack, Classifier, Inner
from classwise.attacks.boundary_balanced import BoundaryBalancedPGD
from classwise.attacks.fab import FAB
from classwise.attacks.friendly import FriendlyPGD
from classwise.attacks.pgd import PGD
from classwise.attacks.square import Square
from classwise.attacks.stepwise import Rows, Stepwise
from classwise.attacks.suite import SUITES, attack_list, describe

__all__ = [
    "APGD",
    "FAB",
    "PGD",
    "SUITES",
    "Attack",
    "BoundaryBalancedPGD",
    "Classifier",
    "FriendlyPGD",
    "Inner",
    "Rows",
    "Square",
    "Stepwise",
    "attack_list",
    "describe",
]
