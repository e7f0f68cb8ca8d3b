"""Attacks: what a subclass must write, projected gradient descent, and attacks by name."""

from classwise.attacks.base import Attack, Classifier, Inner
from classwise.attacks.pgd import PGD
from classwise.attacks.suite import attack_list, describe

__all__ = ["PGD", "Attack", "Classifier", "Inner", "attack_list", "describe"]
