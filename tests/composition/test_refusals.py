"""What makes no sense together is refused when the configuration is built, in a sentence that names both parts."""

import itertools
import math
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from classwise import ClassData, Dataset, TrainConfig, config, train
from classwise.attacks import PGD
from classwise.averaging import Averaging, EpochEMA
from classwise.configuration import replace
from classwise.data import CSVList
from classwise.mixing import GaussianNoise, SameClassMixup
from classwise.objectives import AdversarialTraining, Distillation, Mart, Natural, Trades, VarianceRegularised
from classwise.policies import (
    KLDRO,
    CalibratedRadius,
    CalibratedRegularisation,
    CalibratedTemperature,
    ClassPolicy,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Fixed,
    Hedge,
    SimilarityTransfer,
)
from classwise.progress import Silent

AXES = ("objective", "policy", "perturbation", "averaging", "mixing", "attack", "selection", "repair")


@config
class SumOfAllWeights(ClassPolicy):
    """Somebody's policy with a reducer of its own."""

    registered_name = "sum-of-all-weights"
    reducer = "joint-weight-sum"


@config
class StrongerAttack(ClassPolicy):
    """Somebody's policy that sets a knob nobody has heard of, and does not announce it."""

    registered_name = "stronger-attack"

    def knobs(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"strength": torch.ones(3)}


@config
class GatedByTraining(EpochEMA):
    """Somebody's average that looks at the training images."""

    registered_name = "gated-by-training"
    needs: ClassVar[tuple[str, ...]] = ("train_robust",)


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "ccr without a divergence": (
        {"policy": CalibratedRegularisation()},
        ("'calibrated-regularisation'", "'pgd-at'", "robust term"),
    ),
    "ccr beside a teacher": (
        {"policy": CalibratedRegularisation(), "objective": Distillation(), "teacher": "run"},
        ("'calibrated-regularisation'", "'robust-distillation'", "beta"),
    ),
    "ccr with another beta": (
        {"policy": CalibratedRegularisation(beta=6.0), "objective": Trades(beta=1.0)},
        ("'calibrated-regularisation'", "'trades'", "1.0", "6.0", "same value"),
    ),
    "ccr inside a combination": (
        {"policy": Combined(members=(CalibratedRadius(), CalibratedRegularisation()))},
        ("'calibrated-regularisation'", "'pgd-at'", "robust term"),
    ),
    "frl without a divergence": (
        {"policy": ConstraintReweight(), "objective": AdversarialTraining()},
        ("'constraint-reweight'", "'pgd-at'", "robust term"),
    ),
    "wat without a divergence": ({"policy": Hedge()}, ("'hedge'", "'pgd-at'", "validation_robust_loss")),
    "a radius without an attack": (
        {"policy": ConstraintRemargin(), "objective": Natural()},
        ("'constraint-remargin'", "'natural'", "radius"),
    ),
    "robust accuracy without an attack": (
        {"policy": CalibratedRadius(), "objective": Natural()},
        ("'calibrated-radius'", "'natural'", "train_robust"),
    ),
    "margins without an attack": ({"policy": KLDRO(), "objective": Natural()}, ("'kl-dro'", "'natural'", "margin")),
    "a temperature without a teacher": (
        {"policy": CalibratedTemperature(), "objective": Trades()},
        ("'calibrated-temperature'", "'trades'", "temperature"),
    ),
    "a temperature in a combination": (
        {"policy": Combined(members=(CalibratedTemperature(), KLDRO())), "objective": Trades()},
        ("'calibrated-temperature'", "'trades'", "temperature"),
    ),
    "a weight of a term that is not there": (
        {"policy": Fixed(robust=(1.0, 2.0, 1.0))},
        ("'fixed'", "'pgd-at'", "robust term"),
    ),
    "a teacher that is missing": ({"objective": Distillation()}, ("'robust-distillation'", "teacher", "checkpoint")),
    "a missing teacher of a base": (
        {"objective": VarianceRegularised(base=Distillation())},
        ("'variance-regularised'", "teacher", "checkpoint"),
    ),
    "a teacher whom nobody hears": ({"objective": Mart(), "teacher": "run"}, ("'misclassification-aware'", "teacher")),
    "noise under an attack": (
        {"mixing": GaussianNoise(), "objective": Trades()},
        ("'gaussian-noise'", "'trades'", "clip the noise", "natural"),
    ),
    "perturbed images that are not there": (
        {"mixing": SameClassMixup(stage="after", partners="batch"), "objective": Natural()},
        ("'same-class-mixup'", "'natural'", "no perturbed images"),
    ),
    "an average of training statistics": (
        {"averaging": GatedByTraining()},
        ("average", "validation"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_the_reason(case: str) -> None:
    fields, named = REFUSED[case]
    with pytest.raises(ValueError) as refusal:
        TrainConfig(**fields)
    assert not [part for part in named if part not in str(refusal.value)], str(refusal.value)


@pytest.mark.parametrize("order", [1, -1])
def test_two_different_reducers_are_refused_with_both_named(order: int) -> None:
    with pytest.raises(ValueError, match="reduce the loss in different ways") as refusal:
        Combined(members=(SumOfAllWeights(), ErrorReweight())[::order])
    for named in ("'sum-of-all-weights'", "'error-reweight'", "joint-weight-sum", "weight-sum"):
        assert named in str(refusal.value)


def test_a_reducer_inside_a_combination_counts_too() -> None:
    inner = Combined(members=(SumOfAllWeights(), KLDRO()))
    with pytest.raises(ValueError, match=r"'combined' and 'error-reweight' .* \(joint-weight-sum, weight-sum\)"):
        Combined(members=(inner, ErrorReweight()))


COMBINED = ("calibrated-radius", "kl-dro")
"""Members of the combined policy of the table."""


def test_every_refused_pair_is_refused_in_sentences_that_name_its_parts(lab: Any) -> None:
    """Where the objective was left open, each sentence is about an objective that was tried and one of the parts."""
    refused, silent = 0, set()
    for axes in itertools.combinations(AXES, 2):
        for parts in lab.combinations(axes):
            whole, reasons = lab.completed(parts)
            if whole:
                continue
            refused += 1
            assert reasons
            known = {repr(name) for axis in AXES for name in lab.names(axis)}
            for reason in reasons:
                assert re.fullmatch(r"\S.*: \S.*[^.:]", reason), reason  # what is wrong, a colon, what mends it
                mentioned = known & set(re.findall(r"'[a-z0-9-]+'", reason))
                mine = {repr(name) for name in parts.values()}
                if "'combined'" in mine:  # the member that does not fit is named
                    mine = mine - {"'combined'"} | mentioned & {repr(each) for each in COMBINED}
                wanted = mine if "objective" in parts else mine & mentioned
                if len(mentioned) < 2 or not wanted or not wanted <= mentioned:
                    silent.add(reason)
    assert refused >= 41
    assert not silent


def grouped(groups: int = 2) -> ClassData:
    """Four classes in two groups."""
    labels = torch.arange(32) % 4
    images = torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    names = tuple(f"group {i}" for i in range(groups))
    return ClassData(images, labels, tuple("abcd"), groups=labels % groups, group_names=names)


@pytest.mark.parametrize(
    "policy",
    [SimilarityTransfer(), Combined(members=(CalibratedRadius(), SimilarityTransfer()))],
    ids=["dafa", "combined"],
)
@pytest.mark.parametrize("groups", [2, 4])
def test_similarity_of_groups_that_are_no_labels_is_refused_before_anything_is_written(
    policy: ClassPolicy, groups: int, lab: Any, tmp_path: Path
) -> None:
    data = grouped() if groups == 2 else replace_groups(grouped())
    made = replace(lab.base, policy=policy, objective=Trades(), split=replace(lab.base.split, at_least=2))
    with pytest.raises(ValueError, match=rf"policy '{policy.registered_name}' .*groups must be the labels"):
        train(made, tmp_path / "run", data=Dataset("toy", train=data, test=lambda: data), progress=Silent())
    assert {each.name for each in (tmp_path / "run").iterdir()} <= {"run.lock"}


def replace_groups(data: ClassData) -> ClassData:
    """As many groups as classes, of which each is another class than its number says."""
    return ClassData(data.images, data.labels, data.class_names, groups=3 - data.labels, group_names=tuple("dcba"))


def test_a_fixed_knob_for_another_number_of_groups_is_refused_before_anything_is_written(
    lab: Any, tmp_path: Path
) -> None:
    made = replace(lab.base, policy=Fixed(weight=(1.0, 2.0, 3.0)), split=replace(lab.base.split, at_least=2))
    data = grouped()
    with pytest.raises(ValueError, match=r"policy\.weight has 3 values: give one for each of the 2 groups"):
        train(made, tmp_path / "run", data=Dataset("toy", train=data, test=lambda: data), progress=Silent())
    assert {each.name for each in (tmp_path / "run").iterdir()} <= {"run.lock"}


def test_a_knob_that_was_not_announced_is_refused_when_it_is_set(lab: Any) -> None:
    with pytest.raises(ValueError, match=r"policy 'stronger-attack' sets an unknown knob 'strength': known are radius"):
        lab.run(replace(lab.base, policy=StrongerAttack()))


def test_whatever_is_refused_is_admitted_with_the_mend() -> None:
    """The refusals above come from the one thing that is wrong."""
    TrainConfig(policy=CalibratedRegularisation(), objective=Trades(divided=True))
    TrainConfig(policy=ConstraintReweight(), objective=Trades())
    TrainConfig(policy=Hedge(), objective=Trades())
    TrainConfig(policy=CalibratedTemperature(), objective=Distillation(), teacher="run")
    TrainConfig(objective=VarianceRegularised(base=Distillation()), teacher="run")
    TrainConfig(mixing=GaussianNoise(), objective=Natural())
    TrainConfig(mixing=SameClassMixup(stage="after", partners="batch"))
    TrainConfig(
        policy=Combined(members=(ConstraintReweight(), ConstraintRemargin(), ErrorReweight())), objective=Trades()
    )
    assert issubclass(GatedByTraining, Averaging)


def test_two_setters_of_beta_are_refused() -> None:
    with pytest.raises(ValueError, match="'calibrated-regularisation' is in the combination twice"):
        Combined(members=(CalibratedRegularisation(), CalibratedRegularisation(offset=0.3)))
    with pytest.raises(ValueError, match=r"reduce the loss in different ways \(mean, weight-sum\)"):
        Combined(members=(CalibratedRegularisation(), ConstraintReweight()))


def test_a_step_is_scaled_once() -> None:
    fields = {"objective": Trades(), "policy": SimilarityTransfer()}
    with pytest.raises(
        ValueError, match=r"'similarity-transfer' scales the attack's step by itself, .* leave step_from"
    ):
        TrainConfig(adversary=PGD(step_from="sample"), **fields)
    assert TrainConfig(adversary=PGD(), **fields).adversary == PGD()


def test_an_unknown_reducer_is_refused() -> None:
    @config
    class Strange(KLDRO):
        reducer = "median"

    with pytest.raises(ValueError, match="asks for the reducer 'median': known are mean, weight-sum"):
        TrainConfig(policy=Strange())


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_multipliers_that_are_no_finite_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite numbers of at least 0"):
        Fixed(radius=(1.0, value))


def test_groups_that_are_named_in_the_configuration_are_refused_there() -> None:
    fields = {"objective": Trades(), "policy": SimilarityTransfer()}
    with pytest.raises(
        ValueError, match=r"'similarity-transfer' compares classes .* leave groups 'site' of data 'csv' out"
    ):
        TrainConfig(data=CSVList(groups="site"), **fields)
    assert TrainConfig(data=CSVList(), **fields).policy == SimilarityTransfer()
    assert TrainConfig(data=CSVList(groups="site"), policy=KLDRO()).policy == KLDRO()
