"""Names, order and wording that all checks share."""

from __future__ import annotations

from collections.abc import Mapping

from classwise.evaluation.check import Check, Verdict

PAGE = "docs/believable.md"
"""Where every check has a section whose anchor is its name."""

_BROKEN = ("probabilities", "changed-model", "randomised")
_MISLEADING = (*_BROKEN, "input-range", "zero-gradients", "wrong-gradients")

CAUSES: dict[str, tuple[str, ...]] = {
    "few-samples": (),
    "outside-the-ball": (),
    "probabilities": (),
    "changed-model": (),
    "input-range": (),
    "randomised": ("changed-model",),
    "clean-accuracy": _BROKEN,
    "zero-gradients": _BROKEN,
    "wrong-gradients": (*_BROKEN, "zero-gradients"),
    "black-box": _MISLEADING,
    "more-steps": (*_MISLEADING, "black-box"),
    "larger-radius": (*_MISLEADING, "black-box"),
}
"""Every check, in the order in which they are listed, and which others explain a failure of it.

Where one of those fails, the check is not judged, so that one fault is reported once.
"""


def found(name: str, verdict: Verdict, sentence: str) -> Check:
    """What a check found, with a link to its section."""
    assert name in CAUSES
    return Check(name, verdict, sentence, f"{PAGE}#{name}")


def not_judged(name: str, reason: str) -> Check:
    """A check that found nothing because it could not look; it speaks neither for nor against the figures."""
    return found(name, "pass", f"Not judged: {reason}.")


def explained(name: str, checks: Mapping[str, Check]) -> Check | None:
    """In place of a check whose outcome would follow from a failed one: a reference to that; None where there is none."""
    for cause in CAUSES[name]:
        if cause in checks and checks[cause].verdict == "fail":
            return not_judged(name, f"it would only repeat what {cause} found")
    return None


def in_order(checks: Mapping[str, Check]) -> tuple[Check, ...]:
    """The checks in the order of :data:`CAUSES`."""
    return tuple(checks[name] for name in CAUSES if name in checks)
