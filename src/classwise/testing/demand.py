"""What a contract is made of: demands, each with a look at the component, and how they are gone through."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from classwise.testing.finding import Finding

S = TypeVar("S")

_OWN_FOLDER = Path(__file__).parent


class BreachError(Exception):
    """A demand is not met.

    Args:
        seen: What was seen instead.
        mend: What to change, where that depends on what was seen; empty: what the demand says.
    """

    def __init__(self, seen: str, mend: str = "") -> None:
        super().__init__(seen)
        self.seen, self.mend = seen, mend


@dataclass(frozen=True)
class Demand(Generic[S]):
    """One part of a contract.

    Args:
        name: Short name, lower case with hyphens.
        expected: What is asked, as a sentence without a full stop.
        mend: What an author changes where it is not met.
        look: Looks at a subject; raises :class:`BreachError`, or lets the component's own error through.
        after: Demands without which this one cannot be judged; it is left out where one of them is not met.
    """

    name: str
    expected: str
    mend: str
    look: Callable[[S], None]
    after: tuple[str, ...] = ()


def demand(
    name: str, *, expected: str, mend: str, after: Sequence[str] = ()
) -> Callable[[Callable[[S], None]], Demand[S]]:
    """Make a function that looks at a subject a demand; see :class:`Demand`."""
    return lambda look: Demand(name, expected, mend, look, tuple(after))


def require(held: bool, seen: str, mend: str = "") -> None:
    """Raise :class:`BreachError` where something does not hold."""
    if not held:
        raise BreachError(seen, mend)


def examine(subject: S, demands: Sequence[Demand[S]]) -> tuple[Finding, ...]:
    """Go through demands in their order.

    Args:
        subject: What they look at.
        demands: Those with ``after`` come later than the ones they name.

    Returns:
        One finding per demand, without those that cannot be judged; the finding at fault says how many wait for it.
    """
    findings: dict[str, Finding] = {}
    waiting: dict[str, int] = {}
    reason: dict[str, str] = {}  # demand that was left out → the failed one behind it
    for each in demands:
        assert all(name in findings or name in reason for name in each.after), f"{each.name} comes too early"
        culprit = next((reason.get(name, name) for name in each.after if _unmet(name, findings)), None)
        if culprit is not None:
            reason[each.name] = culprit
            waiting[culprit] = waiting.get(culprit, 0) + 1
            continue
        findings[each.name] = _judged(each, subject)
    return tuple(_with_count(finding, waiting.get(name, 0)) for name, finding in findings.items())


def raised(error: BaseException) -> str:
    """An error as a clause: its type, its text and the line of the component it came from."""
    # The line that an author can change: the innermost one outside this package; of a component of ours, one inside.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _inside(frame.filename)]
    frames = [frame for frame in frames if not Path(frame.filename).is_relative_to(_OWN_FOLDER.parent)] or frames
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _judged(each: Demand[Any], subject: Any) -> Finding:
    try:
        each.look(subject)
    except BreachError as breach:
        return Finding(each.name, False, each.expected, breach.seen, breach.mend or each.mend)
    except Exception as error:
        return Finding(each.name, False, each.expected, f"it raised {raised(error)}", each.mend)
    return Finding(each.name, True, each.expected)


def _unmet(name: str, findings: dict[str, Finding]) -> bool:
    return name not in findings or not findings[name].passed


def _with_count(finding: Finding, count: int) -> Finding:
    if finding.passed or not count:
        return finding
    wait = "1 further check waits for this one" if count == 1 else f"{count} further checks wait for this one"
    return Finding(finding.name, False, finding.expected, finding.seen, f"{finding.mend} ({wait})")


def _inside(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(_OWN_FOLDER) or "torch" in path.parts or file.startswith("<")
