"""What is sent, computed by hand."""

from pathlib import Path

import pytest

from classwise.metrics import class_table
from classwise.runs import RunDirectory
from classwise.trackers import table_scalars
from classwise.trackers.log import TrackedLog
from classwise.trackers.scalars import class_key, series_of

NAMES = ("ant", "b/e e", "cat")
TABLE = {"n": [4, 4, 0], "clean": [1.0, 0.5, None], "robust": [0.75, 0.25, None]}


def epoch(number: int, weight: list[float]) -> dict[str, object]:
    return {
        "event": "epoch",
        "time": 100.0 + number,
        "epoch": number,
        "lr": 0.1,
        "seconds": {"train": 1.0, "all": 2.0},
        "train": {"loss": None if number else 0.5, "terms": {"label": 0.25}, "count": [4, 4, 0]},
        "knobs": {"weight": weight, "radius": [1.0, 1.0, 1.0]},
        "policy": {"dual": [3.0]},
        "validation": {"raw": TABLE, "averaged": TABLE},
        "scores": {"best": 0.5},
    }


def test_accuracies_average_and_worst() -> None:
    assert table_scalars(TABLE, NAMES) == {
        "robust/average": 0.5,
        "robust/worst": 0.25,
        "robust/0-ant": 0.75,
        "robust/1-b_e_e": 0.25,
        "clean/average": 0.75,
        "clean/worst": 0.5,
        "clean/0-ant": 1.0,
        "clean/1-b_e_e": 0.5,
    }


def test_a_class_table_gives_the_same() -> None:
    group = [0] * 4 + [1] * 4
    clean, robust = [True] * 6 + [False] * 2, [True] * 3 + [False] + [True] + [False] * 3
    assert table_scalars(class_table(group, clean, robust, NAMES), NAMES) == table_scalars(TABLE, NAMES)


def test_an_epoch() -> None:
    ((step, time, values),) = series_of([epoch(0, [1.0, 1.0, 1.0])], NAMES)
    assert (step, time) == (1, 100.0)
    assert (
        values.items()
        >= {
            "robust-averaged/worst": 0.25,
            "train/loss": 0.5,
            "train/lr": 0.1,
            "train/seconds": 2.0,
            "train/term-label": 0.25,
            "score/best": 0.5,
            "policy-dual/0": 3.0,
        }.items()
    )
    assert not [name for name in values if name.startswith("knob")]


def test_knobs_are_there_from_when_they_act_and_null_is_left_out() -> None:
    weights = ([1.0, 1.0, 1.0], [0.5, 1.5, 1.0], [1.0, 1.0, 1.0])
    series = series_of([epoch(i, weight) for i, weight in enumerate(weights)], NAMES)
    shown = [{name: value for name, value in values.items() if name.startswith("knob")} for _, _, values in series]
    keys = ("knob-weight/0-ant", "knob-weight/1-b_e_e", "knob-weight/2-cat")
    assert shown == [{}, dict(zip(keys, weights[1], strict=True)), dict(zip(keys, weights[2], strict=True))]
    assert "train/loss" not in series[1][2]


def test_a_repair_counts_where_it_was_better() -> None:
    repair = {"event": "repair", "time": 1.0, "of": {"epochs": 2}, "validation": {"after": TABLE}}
    ((step, _, values),) = series_of([repair | {"better": True}, repair | {"better": False}], NAMES)
    assert step == 2
    assert values["robust-repaired/worst"] == 0.25


@pytest.mark.parametrize("name", ["<script>", "..", "/", "a//b", "", "$5 %", "x" * 300, "ä猫", "a\nb"])
def test_every_class_name_is_one_that_mlflow_takes(name: str, real: object) -> None:
    validation = real("mlflow.utils.validation")  # type: ignore[operator]
    key = f"robust/{class_key(7, name, 200)}"
    assert key.startswith("robust/007")
    validation._validate_metric_name(key)
    assert len(key) <= validation.MAX_ENTITY_KEY_LENGTH


def test_classes_that_look_alike_stay_apart() -> None:
    assert class_key(0, "a/b", 2) != class_key(1, "a b", 2)


def test_only_what_the_last_checkpoint_covers_is_settled(run: Path) -> None:
    directory = RunDirectory(run)
    assert len(TrackedLog(run).settled()) == 3
    directory.set_status("running")
    directory.checkpoints.point("last", 1)
    assert [event["epoch"] for event in TrackedLog(run).settled()] == [0]
    (run / "checkpoints" / "last").unlink()
    assert TrackedLog(run).settled() == []


def test_a_run_is_the_same_wherever_it_lies_and_another_is_not(run: Path, finished: Path) -> None:
    events = TrackedLog(run).settled()
    assert TrackedLog.identity(events) == TrackedLog.identity(TrackedLog(finished).settled())
    assert TrackedLog.identity(events) != TrackedLog.identity(events[1:])


def test_settings(run: Path) -> None:
    settings = TrackedLog(run).settings()
    assert settings.items() >= {"epochs": "3", "policy.name": "kl-dro", "threat.norm": "linf"}.items()


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no event log: give a run directory"):
        TrackedLog(tmp_path)
