"""FAAL's theorem 1 as a table: what is printed, what holds, what draws of labels give."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from classwise.configuration import config
from classwise.registry import register
from classwise.theory.kl_ball import attainable_range, worst_case_weights
from classwise.theory.kl_coverage import coverage, is_missed, is_outside, labels_needed, number_of_types
from classwise.theory.shown.base import Row, TheoryModel
from classwise.theory.simulate import Simulated, proportion

_NO_TERM = "printed eq. 9 with its O(n) left away: with it, it bounds nothing"


@register("theory", "faal")
@config
class FAAL(TheoryModel):
    """Class losses, weighted at worst within a KL ball, against the loss under the true class shares.

    The labels of a test distribution come with shares p; n of them are drawn. FAAL's L_FAAL is the worst-case loss in the
    ball around uniform class weights, which does not depend on the draw. The theorem that holds puts the drawn shares at
    the centre of the ball.
    """

    paper: ClassVar[str] = "FAAL (CVPR 2024), section 3.3, theorem 1"
    assumed: ClassVar[dict[str, str]] = {
        "losses": "the paper gives none; three classes can be enumerated and show every effect",
        "shares": "the paper gives none; far enough from uniform that it matters",
        "tau": "the paper trains with 0.25 and 0.5; with 0.15 the probabilities are large enough to be simulated",
        "n": "the paper gives none; few enough that the bound is seen to say nothing",
    }

    losses: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Class losses, any unit, finite; larger is worse."""
    shares: tuple[float, ...] = (0.5, 0.3, 0.2)
    """True class shares, at least 0, sum 1, one per loss."""
    tau: float = 0.15
    """Radius of the ball in nats, above 0."""
    n: int = 20
    """Number of labels drawn, at least 1; with more than a few classes only small numbers can be enumerated."""

    def check(self) -> None:
        """Refuse numbers out of range."""
        if len(self.losses) < 2 or not all(map(math.isfinite, self.losses)):
            raise ValueError(f"losses {list(self.losses)} are out of range: give finite losses of at least 2 classes")
        if len(self.shares) != len(self.losses):
            raise ValueError(f"shares are {len(self.shares)}, losses {len(self.losses)}: give one share per loss")
        if not all(share >= 0 for share in self.shares) or not abs(sum(self.shares) - 1) <= 1e-9:
            raise ValueError(f"shares {list(self.shares)} are out of range: they must be at least 0 and sum to 1")
        if not 0 < self.tau < math.inf:
            raise ValueError(f"tau {self.tau:g} is out of range: it must be finite and above 0")
        number_of_types(self.n, len(self.losses))

    def rows(self, samples: int, seed: int) -> list[Row]:
        """See :class:`TheoryModel`; each sample is one draw of n labels."""
        losses, shares = np.array(self.losses), np.array(self.shares)
        uniform = float(worst_case_weights(losses, self.tau) @ losses)
        true, plain = float(shares @ losses), float(losses.mean())
        smallest, largest = attainable_range(len(losses), self.tau)
        covered = "at least" if uniform >= true else "below"
        return [
            Row(
                "L_FAAL: worst-case loss around uniform weights", uniform, remark="the same for every n and every draw"
            ),
            Row("plain mean of the class losses", plain, remark="never above L_FAAL"),
            Row(
                "probability that L_FAAL exceeds the plain mean",
                float(np.ptp(losses) > 0),
                1 - math.exp(-self.n * self.tau),
                remark=f"0 or 1, as nothing in it is drawn (0 for equal losses); {_NO_TERM}",
            ),
            Row("loss under the true shares", true, remark=f"L_FAAL is {covered} that, for every n"),
            Row("smallest weight that a class can get", smallest),
            Row("largest weight that a class can get", largest),
            *self._coverage(samples, seed),
            Row("labels from which on the bound by types is below 1", float(labels_needed(len(losses), self.tau))),
        ]

    def _coverage(self, samples: int, seed: int) -> list[Row]:
        """The theorem that holds, with drawn shares at the centre."""
        exact = coverage(self.shares, self.losses, self.tau, self.n)
        missed, outside = self._simulated(samples, seed) if samples else (None, None)
        printed = float(exact.printed)
        return [
            Row(
                "probability that the worst-case loss around the drawn shares misses the true loss",
                float(exact.missed),
                printed,
                missed,
                _NO_TERM,
            ),
            Row(
                "probability that the true shares lie outside the ball around the drawn ones",
                float(exact.outside),
                printed,
                outside,
                "more than exp(-n tau)" if exact.outside > printed else "here at most exp(-n tau); not so in general",
            ),
            Row(
                "bound on both by types, (n + 1)^C exp(-n tau), at most 1",
                float(exact.bound),
                printed,
                remark="eq. 9 has O(n) where C ln(n + 1) is meant",
            ),
        ]

    def _simulated(self, samples: int, seed: int) -> tuple[Simulated, Simulated]:
        """Draws n labels again and again: how often the loss is missed, how often the true shares are outside."""
        losses, shares = np.array(self.losses), np.array(self.shares)
        counts = np.random.default_rng(seed).multinomial(self.n, shares / shares.sum(), samples)
        drawn, which = np.unique(counts, axis=0, return_inverse=True)
        missed = is_missed(drawn / self.n, shares, losses, self.tau)
        outside = is_outside(drawn / self.n, shares, self.tau)
        return proportion(missed[which.ravel()]), proportion(outside[which.ravel()])
