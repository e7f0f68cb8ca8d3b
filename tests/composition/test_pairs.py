"""Every pair of components that the rules admit is trained for two steps, and each of the two must leave a trace."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from classwise import TrainConfig
from classwise.configuration import from_yaml, replace, to_yaml
from classwise.policies import Combined

AXES = ("objective", "policy", "perturbation", "averaging", "mixing", "attack", "selection", "repair")
PAIRS_OF_AXES = list(itertools.combinations(AXES, 2))

AT_LEAST = 423
"""Pairs that are admitted, and so run, when this was written: fewer means that something was forgotten or refused anew."""


def admitted(lab: Any, axes: tuple[str, ...]) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Pairs, each also with the objective that was taken for it where it has none of its own."""
    completed = ((parts, lab.completed(parts)[0]) for parts in lab.combinations(axes))
    return [(parts, whole) for parts, whole in completed if whole]


def test_how_many_pairs_there_are(lab: Any) -> None:
    counts = {axis: len(lab.names(axis)) for axis in AXES}
    every = [parts for axes in PAIRS_OF_AXES for parts in lab.combinations(axes)]
    assert len(every) == (sum(counts.values()) ** 2 - sum(count**2 for count in counts.values())) // 2
    assert len({tuple(sorted(parts.items())) for parts in every}) == len(every)
    assert sum(len(admitted(lab, axes)) for axes in PAIRS_OF_AXES) >= AT_LEAST


@pytest.mark.parametrize("axes", PAIRS_OF_AXES, ids="-".join)
def test_both_parts_of_a_pair_leave_a_trace(axes: tuple[str, str], lab: Any) -> None:
    ran, unexpected = 0, []
    for parts, whole in admitted(lab, axes):
        ran += lab.steps(whole) == 2
        for axis in set(lab.idle(whole)) & set(axes):
            if not lab.excused(axis, whole):
                unexpected.append(f"{axis} {parts[axis]} changes nothing in {whole}")
    assert not unexpected
    refused = sum(not lab.completed(parts)[0] for parts in lab.combinations(axes))
    assert ran == math.prod(len(lab.names(axis)) for axis in axes) - refused


@pytest.mark.parametrize("axes", PAIRS_OF_AXES, ids="-".join)
def test_a_pair_is_one_configuration_that_survives_its_text(axes: tuple[str, str], lab: Any, tmp_path: Path) -> None:
    for _, whole in admitted(lab, axes):
        made = lab.config(whole)
        (tmp_path / "config.yaml").write_text(to_yaml(made), encoding="utf-8")
        assert from_yaml(TrainConfig, tmp_path / "config.yaml") == made, whole


def test_every_excuse_is_needed(lab: Any) -> None:
    for axis, name, other_axis, other in lab.excuses:
        parts, _ = lab.completed({axis: name, other_axis: other})
        assert axis in lab.idle(parts), f"{axis} {name} does change something beside {other}: take it off the table"


def test_every_component_has_a_form_in_the_table_and_the_other_way_round(lab: Any) -> None:
    for axis in AXES:
        assert lab.names(axis) == sorted(lab.table[axis]), f"the table of {axis} and the registry differ"


def test_every_two_policies_that_fit_act_together(lab: Any) -> None:
    """Combined in one: the pair differs from either of them alone."""
    ran = 0
    for one, other in itertools.combinations([name for name in lab.names("policy") if name != "combined"], 2):
        members = tuple(lab.component("policy", name) for name in (one, other))
        if len({member.reduction() for member in members} - {None}) > 1:
            continue  # refused: two different divisors of the loss
        both = Combined(members=members)
        for objective in ("pgd-at", "trades", "robust-distillation"):
            try:
                config = replace(lab.config({"objective": objective}), policy=both)
            except ValueError:
                continue
            whole = lab.run(config)
            for member in members:
                alone = lab.run(replace(config, policy=member))  # what fits together fits alone
                apart = [not torch.equal(value, alone.weights[name]) for name, value in whole.weights.items()]
                assert any(apart), f"{one} and {other} are no more than {member}"
            ran += 1
            break
    assert ran >= 52
