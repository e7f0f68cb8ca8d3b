"""One answer to "can this number be believed?"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """What was looked at, and what was found.

    Args:
        name: Short name, lower case with hyphens.
        verdict: "fail": the figures should not be used as they are; "warn": read the sentence first.
        sentence: What was measured, in words.
        link: Section of the documentation that explains it.
    """

    name: str
    verdict: Verdict
    sentence: str
    link: str
