"""Suites: the facts of AutoAttack's versions, read from the reference itself, and names."""

from typing import Any

import pyautoattack
import pytest
import torch
from torch import nn

from classwise.attacks import APGD, FAB, PGD, SUITES, Attack, Square, attack_list, describe
from classwise.attacks.suite import warnings_for


def facts(attack: Attack) -> dict[str, Any]:
    """What the reference calls the attack, and its budget."""
    if isinstance(attack, APGD):
        name = {"cross-entropy": "apgd-ce", "dlr": "apgd-dlr", "targeted-dlr": "apgd-t"}[attack.loss]
        targets = {"targets": attack.targets} if name == "apgd-t" else {}
        return {"name": name, "restarts": attack.restarts, "steps": attack.steps, **targets}
    if isinstance(attack, FAB):
        name = "fab-t" if attack.targets else "fab"
        targets = {"targets": attack.targets} if attack.targets else {}
        return {"name": name, "restarts": attack.restarts, "steps": attack.steps, **targets}
    assert isinstance(attack, Square)
    return {"name": "square", "restarts": attack.restarts, "queries": attack.queries, "p": attack.p}


def published(version: str, norm: str) -> list[dict[str, Any]]:
    reference = pyautoattack.AutoAttack(nn.Linear(1, 1), eps=0.1, norm=norm, version=version)
    found = []
    for name in reference.attacks_to_run:
        if name == "square":
            part = reference.square
            found.append({"name": name, "restarts": part.n_restarts, "queries": part.n_queries, "p": part.p_init})
            continue
        part = {"apgd-t": reference.apgd_targeted}.get(name, reference.fab if "fab" in name else reference.apgd)
        targets = {"targets": part.n_target_classes} if name.endswith("-t") else {}
        found.append({"name": name, "restarts": part.n_restarts, "steps": part.n_iter, **targets})
    return found


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("version", ["standard", "plus"])
def test_parts_order_and_budgets_are_those_of_the_reference(version: str, norm: str) -> None:
    assert [facts(attack) for attack in SUITES[version]] == published(version, norm)


@pytest.mark.parametrize("name", ["quick", "standard", "plus", "pgd-20", "cw-7", "apgd-t", "fab", "square-50+apgd-ce"])
def test_a_name_is_what_its_attacks_are_called(name: str) -> None:
    assert describe(attack_list(name)) == name


def test_steps_belong_to_the_attack_they_follow() -> None:
    assert attack_list("apgd-dlr-20+square-300") == (APGD(loss="dlr", steps=20), Square(queries=300))
    assert describe([PGD(steps=3, restarts=2)]) == "pgd(steps=3, restarts=2)"


@pytest.mark.parametrize("name", ["pgd", "fgsm-3", "apgd-ce-0", "standard-5", "apgd_ce", ""])
def test_other_words_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="unknown attack"):
        attack_list(name)


def test_few_classes_are_spoken_of() -> None:
    three = warnings_for(SUITES["standard"], "linf", 3)
    assert any("targeted-dlr needs 4 classes" in sentence for sentence in three)
    assert any(sentence.startswith("fab-t: 3 classes leave 2 targets") for sentence in three)
    assert warnings_for(SUITES["standard"], "linf", 10) == []
    assert any(
        "dlr needs 3 classes: with 2" in sentence for sentence in warnings_for(attack_list("apgd-dlr"), "linf", 2)
    )


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("name", ["apgd-ce-5", "apgd-dlr-5", "apgd-t-5", "fab-5", "fab-t-5", "square-20"])
def test_few_classes_are_attacked(name: str, classes: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()
    x = torch.rand(8, 3, 2, 2, dtype=torch.float64) * 0.8 + 0.1
    with torch.no_grad():
        y = net(x).argmax(1)
    from classwise.randomness import KeyedNoise
    from classwise.threat import linf

    x_adv = attack_list(name)[0](net, x, y, threat=linf(0.5), noise=KeyedNoise(0, torch.arange(8)))
    assert int((net(x_adv).argmax(1) != y).sum()) >= 4


def test_what_does_not_know_the_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="fab-t is for linf and l2"):
        warnings_for(attack_list("apgd-ce+fab-t"), "l1", 10)
    assert warnings_for(attack_list("pgd-20+apgd-t"), "l1", 10) == []
