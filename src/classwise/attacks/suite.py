"""Attacks by name, and the worst case over several of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from classwise import registry
from classwise.attacks.apgd import APGD
from classwise.attacks.base import Attack
from classwise.attacks.fab import FAB
from classwise.attacks.pgd import PGD
from classwise.attacks.square import Square
from classwise.threat import ThreatModel

Attacks = str | Attack | Sequence[Attack]

_ATTACKS: dict[str, tuple[int, Callable[[int], Attack]]] = {
    "fgsm": (1, lambda steps: PGD(steps=1, relative_step=1.0, start="none", loss="cross-entropy")),
    "pgd": (0, lambda steps: PGD(steps=steps, stop_when_fooled=True, loss="cross-entropy", start="uniform")),
    "cw": (0, lambda steps: PGD(steps=steps, stop_when_fooled=True, loss="margin", start="uniform")),
    "apgd-ce": (100, lambda steps: APGD(steps=steps)),
    "apgd-dlr": (100, lambda steps: APGD(steps=steps, loss="dlr")),
    "apgd-t": (100, lambda steps: APGD(steps=steps, loss="targeted-dlr", targets=9)),
    "fab": (100, lambda steps: FAB(steps=steps)),
    "fab-t": (100, lambda steps: FAB(steps=steps, targets=9)),
    "square": (5000, lambda queries: Square(queries=queries)),
}
"""Name → steps where none are written (0: they must be), and what makes the attack."""

SUITES: dict[str, tuple[Attack, ...]] = {
    "quick": (APGD(steps=20), PGD(steps=20, stop_when_fooled=True, loss="margin", start="uniform")),
    "standard": (
        APGD(),
        APGD(loss="targeted-dlr", targets=9),
        FAB(targets=9),
        Square(),
    ),
    "plus": (
        APGD(restarts=5),
        APGD(loss="dlr", restarts=5),
        FAB(restarts=5),
        Square(),
        APGD(loss="targeted-dlr", targets=9),
        FAB(targets=9, restarts=5),
    ),
}
"""Suites by name.

"quick": for curves, seconds to a minute. "standard" and "plus": parts, order and budgets of AutoAttack's versions of
the same names (Croce and Hein, ICML 2020), for l_inf and l_2.
"""


def attack_list(attacks: Attacks) -> tuple[Attack, ...]:
    """The attacks that a name or a list stands for; an audit takes their worst case per sample.

    Args:
        attacks: A suite ("quick", "standard", "plus"), an attack ("fgsm", "pgd-STEPS", "cw-STEPS" with the margin loss,
            "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square", these also with "-STEPS"), several names joined
            by "+", one attack, or a list.

    Raises:
        ValueError: The name is unknown, or the list is empty.
    """
    if isinstance(attacks, Attack):
        return (attacks,)
    if not isinstance(attacks, str):
        if not attacks:
            raise ValueError("no attack given: name at least one, such as 'pgd-20', or a suite such as 'standard'")
        return tuple(attacks)
    return tuple(attack for name in attacks.split("+") for attack in _named(name.strip()))


def describe(attacks: Sequence[Attack]) -> str:
    """A short name of a list of attacks, for tables and folder names."""
    suite = next((name for name, parts in SUITES.items() if parts == tuple(attacks)), None)
    return suite or "+".join(_name(attack) for attack in attacks)


def warnings_for(attacks: Sequence[Attack], norm: str, classes: int) -> list[str]:
    """Sentences about attacks that cannot be what their names say against so few classes or in this norm.

    Raises:
        ValueError: An attack does not know the norm.
    """
    sentences = []
    for attack in attacks:
        if norm == "l1" and not isinstance(attack, PGD | APGD):
            raise ValueError(f"{_name(attack)} is for linf and l2: for l1 name pgd-STEPS, cw-STEPS or apgd-…")
        if isinstance(attack, APGD) and (sentence := attack.stand_in(classes)):
            sentences.append(f"{_name(attack)}: {sentence}")
        wanted = getattr(attack, "targets", 0)
        aimed = not isinstance(attack, APGD) or attack.loss.startswith("targeted")
        if aimed and wanted > classes - 1:
            sentences.append(f"{_name(attack)}: {classes} classes leave {classes - 1} targets instead of {wanted}")
    return sentences


def check_threat(attacks: Sequence[Attack], threat: ThreatModel) -> None:
    """Refuse attacks that have a geometry of their own, which does not fit the threat model.

    Raises:
        ValueError: With the name of the first such attack.
    """
    for attack in attacks:
        if isinstance(attack, FAB | Square):
            threat.require_plain(_name(attack))


def _named(name: str) -> tuple[Attack, ...]:
    if name in SUITES:
        return SUITES[name]
    match = re.fullmatch(r"([a-z-]*[a-z])(?:-(\d+))?", name)
    if match and match.group(1) in _ATTACKS:
        steps, make = _ATTACKS[match.group(1)]
        steps = int(match.group(2)) if match.group(2) else steps
        if steps > 0 and not (match.group(2) and match.group(1) == "fgsm"):
            return (make(steps),)
    known = [*SUITES, *(each if steps else f"{each}-20" for each, (steps, _) in _ATTACKS.items()), "pgd-10"]
    raise ValueError(
        f"unknown attack {name!r} (write a suite such as standard, or pgd-STEPS, cw-STEPS, apgd-ce, square, …)"
        f"{registry.did_you_mean(name, known)}"
    )


def _name(attack: Attack) -> str:
    for name, (usual, make) in _ATTACKS.items():
        steps = getattr(attack, "queries", getattr(attack, "steps", 0))
        if steps and make(steps) == attack:
            return name if steps == usual else f"{name}-{steps}"
    return _fields(attack)


def _fields(attack: Attack) -> str:
    """Fields that differ from their defaults: ``pgd(steps=7, step_size=0.01)``."""
    default = type(attack)()
    changed = {key: value for key, value in vars(attack).items() if value != getattr(default, key)}
    inside = ", ".join(f"{key}={value}" for key, value in changed.items())
    return f"{attack.registered_name}({inside})"
