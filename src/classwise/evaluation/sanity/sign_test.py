"""Is it chance that more images changed one way than the other?"""

from __future__ import annotations

from math import comb

CERTAIN, DOUBTFUL = 0.01, 0.05
"""Below these probabilities a difference is a failure, and a warning: from 7 and from 5 images one way and none the other."""


def chance(more: int, fewer: int) -> float:
    """Probability that at least ``more`` of ``more + fewer`` changes go one way when both ways are equally likely.

    The one-sided exact sign test (McNemar's) on images that two runs judge differently.
    """
    changes = more + fewer
    return float(sum(comb(changes, k) for k in range(more, changes + 1)) / 2**changes)
