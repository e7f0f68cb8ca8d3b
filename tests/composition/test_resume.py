"""An interrupted run ends where an uninterrupted one ends, bit for bit, whatever it is composed of."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from classwise import Dataset, Run, TrainConfig, train
from classwise.attacks import FriendlyPGD
from classwise.averaging import EpochEMA, Gated, StepEMA
from classwise.configuration import replace
from classwise.data import ClassData, CropFlip
from classwise.mixing import SameClassMixup
from classwise.models import Linear
from classwise.objectives import AdversarialTraining, Distillation, Mart, Trades, VarianceRegularised
from classwise.perturbation import AdversarialWeights
from classwise.policies import (
    KLDRO,
    CalibratedRadius,
    CalibratedRegularisation,
    CalibratedTemperature,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Hedge,
    SimilarityTransfer,
)
from classwise.progress import Silent
from classwise.runs import checkpoints
from classwise.training import Steps

TOGETHER: dict[str, dict[str, Any]] = {
    "cfa": {
        "policy": Combined(members=(CalibratedRadius(begin=1), CalibratedRegularisation(begin=1))),
        "objective": Trades(divided=True),
        "averaging": Gated(threshold=0.05, start=1),
    },
    "frl": {
        "policy": Combined(
            members=(
                ConstraintReweight(slack_clean=0.0, rate_clean=1.0, rate_decay=0.5, decay_epochs=(2,)),
                ConstraintRemargin(slack_boundary=0.0, rate=1.0, windup=True),
            )
        ),
        "objective": Trades(beta=1.5),
    },
    "faal with weights perturbed": {
        "policy": KLDRO(tau=0.0, stage_epochs=(1, 3), stage_taus=(0.25, 0.5)),
        "objective": Mart(),
        "perturbation": AdversarialWeights(begin=1),
        "averaging": EpochEMA(start=1, buffers="copy"),
    },
    "wat, rate dropping": {
        "policy": Hedge(counted="batches", normalise=False),
        "objective": Trades(),
        "schedule": Steps(drops=(1, 3), to=(0.5, 0.1)),
    },
    "dafa": {"policy": SimilarityTransfer(warmup=2), "averaging": StepEMA(decay=0.5, warmup=False)},
    "absld": {"policy": CalibratedTemperature(drops=(3,)), "objective": Distillation()},
    "growing budget": {
        "adversary": FriendlyPGD(steps=4, budget_epochs=(1, 3), jitter=0.01),
        "policy": ErrorReweight(rule="best-response"),
    },
    "drawn shares": {"mixing": SameClassMixup(alpha=0.4), "augmentation": CropFlip(padding=1)},
    "partners of the batch": {
        "mixing": SameClassMixup(alpha=1.0, partners="batch", stage="after"),
        "objective": VarianceRegularised(base=AdversarialTraining(), alpha=0.5, slots=10),
    },
}
"""Whole methods, and settings with random numbers or schedules of their own."""


class Stop(Exception):
    """Raised in the middle of training."""


class StopAfter:
    """Progress that raises after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Any]:
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= units if label == "train" else 0
            if self.left < 0:
                raise Stop

        yield advance


@pytest.fixture(scope="module")
def dataset(lab: Any) -> Dataset:
    """The laboratory's images, to be split by the run; test images are out of reach."""
    train_part, validation = lab.roles.train, lab.roles.validation
    images = torch.cat([train_part.images, validation.images])
    labels = torch.cat([train_part.labels, validation.labels])

    def no_test_images() -> ClassData:
        raise AssertionError("the test images were read")

    return Dataset("toy", train=ClassData(images, labels, train_part.class_names), test=no_test_images)


@pytest.fixture(scope="module")
def teacher(lab: Any, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose network teaches."""
    made = replace(lab.base, model=Linear(), epochs=1, split=replace(lab.base.split, at_least=4))
    return str(train(made, tmp_path_factory.mktemp("teacher") / "run", data=dataset, progress=Silent()).path)


def history(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if key not in ("time", "seconds")} for each in run.history]


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """Places at which two nested values differ."""
    if isinstance(one, Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [where]
        return [place for key in one for place in differing(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [where]
        return [
            place for i, (a, b) in enumerate(zip(one, other, strict=True)) for place in differing(a, b, f"{where}.{i}")
        ]
    return [] if one == other else [where]


Rerun = Callable[[TrainConfig], tuple[Run, Run]]


@pytest.fixture
def in_one_go_and_in_two(lab: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rerun:
    """Four epochs in one go, and again with an interruption in the third: both runs."""
    # For speed only: what is patched has tests of its own.
    monkeypatch.setattr("classwise.evaluation.collect.fast_copy", lambda model, *_, **__: (model, ""))
    monkeypatch.setattr("classwise.evaluation.collect.allows_smaller", lambda *_: False)
    monkeypatch.setattr("classwise.api.environment", dict)
    monkeypatch.setattr("os.fsync", lambda _: None)

    def both(made: TrainConfig) -> tuple[Run, Run]:
        made = replace(made, epochs=4, batch_size=10, split=replace(made.split, at_least=4))
        network = copy.deepcopy(lab.start)

        def run(name: str, progress: Any) -> Run:
            return train(made, tmp_path / name, data=dataset, network=network, progress=progress)

        whole = run("whole", Silent())
        with pytest.raises(Stop):
            run("parts", StopAfter(2 * whole.history[0]["step"] + 1))
        assert Run(tmp_path / "parts").directory.checkpoints.pointed("last") == 2
        return whole, run("parts", Silent())

    return both


def check(whole: Run, parts: Run) -> None:
    """Resuming and repeating at once: the first two epochs of the second run are a repetition of the first's."""
    assert history(parts) == history(whole)
    steps = whole.history[0]["step"]
    assert steps > 1
    assert [each["step"] for each in parts.history] == [steps, 2 * steps, 3 * steps, 4 * steps]
    first, second = (checkpoints.load(each.directory.checkpoints.path(4)) for each in (whole, parts))
    for state in (first.state, second.state):
        del state["events_size"]  # of a log that holds times
    for ours, theirs in ((first.model, second.model), (first.averaged, second.averaged), (first.state, second.state)):
        assert differing(dict(ours), dict(theirs)) == []
    assert bool(first.averaged) == (whole.config.averaging.registered_name != "none")
    assert parts.acted == whole.acted
    assert parts.acted or whole.config.policy.registered_name == "uniform"
    assert same_repair(whole, parts)


def same_repair(whole: Run, parts: Run) -> bool:
    """Whether both repairs found the same, and one was made where one was asked for."""
    told = [{key: each.repair.get(key) for key in ("fitted", "tried", "validation")} for each in (whole, parts)]
    same = not differing(*({**each.model().state_dict()} for each in (whole, parts)))
    return same and told[0] == told[1] and bool(whole.repair) == (whole.config.repair.registered_name != "none")


def test_a_run_with_a_component_resumes_as_if_nothing_had_happened(
    part: tuple[str, str], lab: Any, teacher: str, in_one_go_and_in_two: Rerun
) -> None:
    axis, name = part
    made = lab.config(lab.completed({axis: name})[0])
    check(*in_one_go_and_in_two(replace(made, teacher=teacher) if made.teacher else made))


@pytest.mark.parametrize("case", TOGETHER)
def test_a_whole_method_resumes_as_if_nothing_had_happened(
    case: str, lab: Any, teacher: str, in_one_go_and_in_two: Rerun
) -> None:
    fields = TOGETHER[case]
    taught = "objective" in fields and fields["objective"].taught
    check(*in_one_go_and_in_two(replace(lab.base, **fields, teacher=teacher if taught else "")))
