"""Attacks by name, and the worst case over several of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from classwise import registry
from classwise.attacks.base import Attack
from classwise.attacks.pgd import PGD

Attacks = str | Attack | Sequence[Attack]

_PATTERNS: dict[str, Callable[[int], Attack]] = {
    r"fgsm": lambda steps: PGD(steps=1, relative_step=1.0, start="none", loss="cross-entropy"),
    r"pgd-(\d+)": lambda steps: PGD(steps=steps, stop_when_fooled=True, loss="cross-entropy", start="uniform"),
    r"cw-(\d+)": lambda steps: PGD(steps=steps, stop_when_fooled=True, loss="margin", start="uniform"),
}


def attack_list(attacks: Attacks) -> tuple[Attack, ...]:
    """The attacks that a name or a list stands for; an audit takes their worst case per sample.

    Args:
        attacks: "fgsm", "pgd-STEPS", "cw-STEPS" (margin loss), several joined by "+", one attack, or a list.

    Raises:
        ValueError: The name is unknown, or the list is empty.
    """
    if isinstance(attacks, Attack):
        return (attacks,)
    if not isinstance(attacks, str):
        if not attacks:
            raise ValueError("no attack given: name at least one, such as 'pgd-20'")
        return tuple(attacks)
    found = []
    for name in attacks.split("+"):
        for pattern, make in _PATTERNS.items():
            match = re.fullmatch(pattern, name.strip())
            if match and int(match.group(1) if match.groups() else 1) > 0:
                found.append(make(int(match.group(1)) if match.groups() else 1))
                break
        else:
            known = ["fgsm", "pgd-10", "pgd-20", "cw-20"]
            raise ValueError(
                f"unknown attack {name!r} (write fgsm, pgd-STEPS or cw-STEPS){registry.did_you_mean(name, known)}"
            )
    return tuple(found)


def describe(attacks: Sequence[Attack]) -> str:
    """A short name of a list of attacks, for tables and folder names."""
    parts = []
    for attack in attacks:
        named = next((name for name in _short_names(attack) if attack_list(name)[0] == attack), None)
        parts.append(named or _fields(attack))
    return "+".join(parts)


def _short_names(attack: Attack) -> list[str]:
    steps = getattr(attack, "steps", 0)
    return ["fgsm", f"pgd-{steps}", f"cw-{steps}"] if steps else []


def _fields(attack: Attack) -> str:
    """Fields that differ from their defaults: ``pgd(steps=7, step_size=0.01)``."""
    default = type(attack)()
    changed = {key: value for key, value in vars(attack).items() if value != getattr(default, key)}
    inside = ", ".join(f"{key}={value}" for key, value in changed.items())
    return f"{attack.registered_name}({inside})"
