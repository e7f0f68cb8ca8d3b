"""Is it chance that more images changed one way than the other?"""

from __future__ import annotations

from math import comb

CERTAIN, DOUBTFUL = 0.01, 0.05
"""Below these probabilities a difference is a failure, and a warning.

A dozen checks are made at a time: at 0.01 about one honest model in ten would fail one of them if all were drawn at the
border; honest models are far from it (their differences are 0 to 2 images).
"""


def chance(more: int, fewer: int) -> float:
    """Probability that at least ``more`` of ``more + fewer`` changes go one way when both ways are equally likely.

    The one-sided exact sign test (McNemar's) on images that two runs judge differently.
    """
    changes = more + fewer
    return float(sum(comb(changes, k) for k in range(more, changes + 1)) / 2**changes)
