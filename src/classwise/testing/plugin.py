"""All components of a plug-in file."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classwise import registry
from classwise.testing.component import CHECKS, check_component
from classwise.testing.finding import Finding
from classwise.testing.made import required


@dataclass(frozen=True)
class Examined:
    """What was found of one component of a plug-in.

    Args:
        kind: Its kind, such as "policy".
        name: The name it is registered under.
        line: Line of the file where it is written; 0 where that is unknown.
        findings: One per check; empty where it could not be checked.
        remark: What was not checked, and why; empty where everything was.
    """

    kind: str
    name: str
    line: int
    findings: tuple[Finding, ...]
    remark: str = ""


def check_plugin(path: str | Path) -> tuple[Examined, ...]:
    """Load a plug-in file, and check every component it registers.

    Args:
        path: A ``.py`` file. Its code is run.

    Returns:
        One entry per component, in the order of the file.

    Raises:
        ValueError: There is no such file, it fails while loading, or it registers nothing.
    """
    before = _everything()
    digest = registry.load_plugin(path)
    # A file that was loaded before is not run again; its module carries the beginning of its digest.
    own = [
        (kind, name)
        for (kind, name), thing in _everything().items()
        if (kind, name) not in before or thing.__module__.endswith(digest[:12])
    ]
    if not own:
        raise ValueError(
            f'plug-in {str(path)!r} registers no component: write @register("policy", "my-name") (or another kind) above '
            "@config and the class"
        )
    return tuple(sorted((_examined(kind, name) for kind, name in own), key=lambda each: each.line))


def _everything() -> dict[tuple[str, str], Any]:
    return {(kind, name): registry.get(kind, name) for kind in registry.HOMES for name in registry.names(kind)}


def _examined(kind: str, name: str) -> Examined:
    thing = registry.get(kind, name)
    line = _line(thing)
    if not isinstance(thing, type):
        return Examined(kind, name, line, (), f"not checked: a {kind} has no contract to check")
    missing = required(thing) if hasattr(thing, "__dataclass_fields__") else []
    if missing:
        call = f"check_component({thing.__name__}({', '.join(f'{field}=…' for field in missing)}))"
        remark = f"not checked: it cannot be made without {', '.join(missing)}; check one in a test, by {call}"
        return Examined(kind, name, line, (), remark)
    remark = "" if kind in CHECKS else f"only its settings were checked: a {kind} has no other contract to check"
    try:
        return Examined(kind, name, line, check_component(thing), remark)
    except (ValueError, TypeError) as error:
        seen, _, mend = str(error).partition(": ")
        expected = f"the class is derived from the base class of its kind, and {thing.__name__}() makes one"
        return Examined(kind, name, line, (Finding("made", False, expected, seen, mend or "mend its defaults"),))


def _line(thing: Any) -> int:
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return 0
