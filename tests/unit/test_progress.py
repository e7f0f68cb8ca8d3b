"""Progress: quiet for quick work, plain lines where the output is no terminal."""

import sys

import pytest

from classwise import progress
from classwise.progress import Bars, PlainLines, Silent, default_progress


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def work(shown: progress.Progress, clock: Clock, seconds: float, units: int = 20) -> None:
    with shown.task("train", units) as advance:
        for _ in range(units):
            clock.now += seconds / units
            advance(note="robust 50 %")


def test_plain_lines_say_nothing_about_quick_work(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    work(PlainLines(), clock, seconds=1.9)
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


def test_plain_lines_come_after_two_seconds_and_then_every_ten(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    work(PlainLines(), clock, seconds=40, units=40)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[0] == "train: 2/40, about 38 s left  robust 50 %"
    assert lines[1] == "train: 12/40, about 28 s left  robust 50 %"
    assert lines[-1] == "train: done in 40 s  robust 50 %"
    assert len(lines) == 5
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_the_silent_one_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    work(Silent(), clock, seconds=100)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("terminal", "rich", "kind"), [(False, True, PlainLines), (True, True, Bars), (True, False, PlainLines)]
)
def test_bars_need_a_terminal_and_rich(terminal: bool, rich: bool, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
    assert isinstance(default_progress(), kind)


def test_a_bar_reaches_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().task("audit", 3) as advance:
        for _ in range(3):
            advance(note="half")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "half" in shown.err
