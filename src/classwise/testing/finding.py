"""What a contract check found, and the error that a test raises for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What one check found of a component.

    Args:
        name: Short name of the check, lower case with hyphens.
        passed: Whether the component keeps this part of its contract.
        expected: What the contract asks, as a sentence without a full stop.
        seen: What was seen instead; empty where it passed.
        mend: What to change; empty where it passed.
    """

    name: str
    passed: bool
    expected: str
    seen: str = ""
    mend: str = ""

    @property
    def explanation(self) -> str:
        """What was expected; where it failed also what was seen and how to mend it."""
        if self.passed:
            return self.expected
        return f"expected: {self.expected}; seen: {self.seen}; mend: {self.mend}"


def assert_passes(findings: Sequence[Finding]) -> None:
    """Fail a test where a check found something.

    Args:
        findings: What :func:`classwise.testing.check_policy` or another check gave.

    Raises:
        AssertionError: A check did not pass, or there is none; the message explains every failure.
    """
    failed = [each for each in findings if not each.passed]
    if failed or not findings:
        lines = [f"{len(failed)} of {len(findings)} contract checks failed"]
        for each in failed:
            lines += [f"{each.name}", f"  expected: {each.expected}", f"  seen: {each.seen}", f"  mend: {each.mend}"]
        raise AssertionError("\n".join(lines))
