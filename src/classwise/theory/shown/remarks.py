"""What the remarks beside a number say, derived from the number."""

from __future__ import annotations

import math

TOO_SMALL = "too small to compute"
"""Said of a number that is 0, or not a number, only because its parts are below what floating point numbers hold."""


def proven_sign(claim: str, value: float, above: bool = True) -> str:
    """A claim about a sign that is proven: right, or lost to rounding, the only way in which it can fail here.

    Args:
        claim: What the paper says, such as "corollary 1: above 0".
        value: The number that was computed.
        above: Whether it is above 0, else below.
    """
    return f"{claim}, right" if (value > 0 if above else value < 0) else f"{claim}; {TOO_SMALL}"


def course(before: float, after: float) -> str:
    """What a gap does: "shrinks", "grows", or "stays as it is" up to rounding.

    Args:
        before: The gap without mixup.
        after: The gap with it.
    """
    if math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-15):
        return "stays as it is"
    return "shrinks" if after < before else "grows"
