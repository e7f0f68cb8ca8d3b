"""What TensorBoard's own reader finds."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classwise.runs import RunDirectory
from classwise.trackers import TensorBoard, track
from classwise.trackers.tensorboard import MARK


@pytest.fixture(autouse=True)
def _installed(real: Callable[[str], Any]) -> None:
    real("tensorboard")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def places(folder: Path) -> Counter[tuple[str, int]]:
    found = read(folder)
    return Counter((tag, each.step) for tag in found.Tags()["scalars"] for each in found.Scalars(tag))


def test_figures_of_the_log(run: Path) -> None:
    sent = track(run, ["tensorboard"])
    found = read(run / "tensorboard")
    assert sum(places(run / "tensorboard").values()) == sent > 50
    events = RunDirectory(run).events.read("epoch")
    for tag, group in (("robust/0-b_ant", 0), ("robust/2-bee", 2)):
        series = found.Scalars(tag)
        assert [each.step for each in series] == [1, 2, 3]
        assert [each.value for each in series] == pytest.approx(
            [event["validation"]["raw"]["robust"][group] for event in events]
        )
        assert [each.wall_time for each in series] == pytest.approx([event["time"] for event in events])
    assert "knob-batch_weight/2-bee" in found.Tags()["scalars"]


def test_pictures_and_report(run: Path) -> None:
    track(run, ["tensorboard"])
    found = read(run / "tensorboard")
    assert found.Tags()["images"] == ["figures/training", "figures/classes", "figures/knobs"]
    (picture,) = found.Images("figures/training")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert "<html" in (run / "tensorboard" / "report.html").read_text(encoding="utf-8")


def test_sent_again_nothing_is_sent(run: Path) -> None:
    track(run, ["tensorboard"])
    before = places(run / "tensorboard")
    assert track(run, ["tensorboard"]) == 0
    assert places(run / "tensorboard") == before
    assert len(read(run / "tensorboard").Images("figures/classes")) == 1


@pytest.mark.slow
def test_a_run_that_goes_on_is_sent_without_duplicates(half: Path, run: Path, tmp_path: Path) -> None:
    there = f"tensorboard:{tmp_path / 'tb'}"
    first = track(half, [there])
    assert {step for _, step in places(tmp_path / "tb" / "at")} == {1}
    second = track(run, [there])
    assert first > 0
    assert second > 0
    track(run, ["tensorboard"])
    assert places(tmp_path / "tb" / "at") == places(run / "tensorboard")  # as if sent at once
    assert set(places(run / "tensorboard").values()) == {1}


def test_what_a_kill_left_out_is_added(run: Path) -> None:
    track(run, ["tensorboard"])
    whole = places(run / "tensorboard")
    (file,) = (run / "tensorboard").glob("events.out.*")
    file.write_bytes(file.read_bytes()[:1500])  # in the middle of a record
    assert track(run, ["tensorboard"]) > 0
    assert places(run / "tensorboard") == whole


def test_another_run_in_the_same_place_is_refused(run: Path, tmp_path: Path) -> None:
    there = TensorBoard(tmp_path / "tb")
    track(run, [there])
    (tmp_path / "tb" / "at" / MARK).write_text("another\n")
    with pytest.raises(ValueError, match="holds the figures of another run: delete it, or give another folder"):
        track(run, [there])
