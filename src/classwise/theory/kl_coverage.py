"""What the theorem of FAAL can say: with which probability the worst-case loss of a sample covers the true loss.

As printed (theorem 1, eq. 9: ``Pr(L_FAAL > L) >= 1 - exp(-tau n + O(n))``) it says nothing. The term O(n) may exceed tau n.
The centre of the ball is the uniform distribution whatever was drawn, so the event does not depend on chance: L_FAAL is at
least the plain mean of the class losses, always, and equal to it for equal losses or tau = 0; and a test distribution
outside the ball can have a larger loss for every n.

What holds: let p_hat be the class shares among n labels drawn from p, l the class losses, and
``V(p_hat) = max {q.l : KL(p_hat || q) <= tau}``. Then ``Pr(V(p_hat) >= p.l) >= Pr(KL(p_hat || p) <= tau)
>= 1 - (n + 1)^C exp(-n tau)``, since p itself lies in the ball whenever the middle event holds (Sanov; method of types).
It needs the sample first in the divergence, as in the reverse ball. Both probabilities are computed here without
simulation: the counts of n labels take ``binom(n + C - 1, C - 1)`` values, and each has a known probability.

Letters: C classes, n labels, N types (count vectors of n labels).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, lambertw, rel_entr, xlogy

Floats = npt.NDArray[np.float64]
Numbers = npt.ArrayLike

_STEPS = 24  # Newton steps; about ten are needed, and the value is flat at the optimum
_LARGEST = 20_000_000  # numbers in one array of an enumeration

_LOST = 2.0**-53  # smaller shares are lost in a sum with 1: what they add to a divergence is below rounding
_SATURATED = 1e3  # nats; in a larger ball the weights are the same, since e^-1000 is 0
_ROUNDING = 1e-12  # differences below this share of their scale are no differences


class WorstMix(NamedTuple):
    """The largest weighted loss in a ball around a reference, and where it is reached."""

    value: Floats
    """V, (...), in the unit of the losses."""
    weights: Floats
    """q, (..., C), at least 0, sum 1."""


class Coverage(NamedTuple):
    """Probabilities of missing the loss of the true class shares, each of the shape of tau."""

    missed: Floats
    """Exact: the worst-case loss around the drawn shares is below the loss of the true shares."""
    outside: Floats
    """Exact: the true shares lie outside the ball around the drawn shares. At least ``missed``."""
    bound: Floats
    """(n + 1)^C exp(-n tau), at most 1: above both, for every loss and every p."""
    printed: Floats
    """exp(-n tau): eq. 9 with O(n) left away. Above neither in general."""


def worst_mix(reference: Numbers, losses: Numbers, tau: Numbers) -> WorstMix:
    """Largest ``q.l`` over distributions q with ``KL(reference || q) <= tau``, for any reference.

    Unlike :func:`classwise.theory.worst_case_weights` the reference need not be uniform and may have zeros: the ball leaves
    the weight of such a class free, so that up to ``1 - exp(-tau)`` may move to it if its loss is the largest.

    The value is the minimum over nu >= max l of ``nu - exp(-tau) GM(nu - l)``, GM the geometric mean weighted by the
    reference: the dual, convex in one unknown, whose stationary point is found in u = ln(1 + range / (nu - max l)).

    Args:
        reference: (..., C) shares, at least 0, that sum to 1.
        losses: (..., C) finite class losses, larger is worse.
        tau: Radius of the ball in nats, (...), finite and at least 0.

    Raises:
        ValueError: A number is out of its range, or the shapes do not fit.

    Source: theory of Zhang et al. 2024 (FAAL), theorem 1, corrected; the dual by Lagrange multipliers.

    >>> value, weights = worst_mix([0.5, 0.5, 0.0], [0.0, 0.0, 1.0], 0.5)
    >>> round(float(value), 6) == round(1 - math.exp(-0.5), 6)
    True
    """
    share, loss, radius = _distribution("reference", reference), _finite("losses", losses), _radius(tau)[..., None]
    if loss.ndim == 0 or loss.shape[-1] != share.shape[-1]:
        raise ValueError(f"losses of shape {loss.shape} do not fit {share.shape[-1]} classes: give one per class")
    share = np.where(share < _LOST, 0, share)
    share, loss = np.broadcast_arrays(share, loss)
    seen = share > 0
    top = loss.max(-1, keepdims=True)
    spread = top - np.where(seen, loss, np.inf).min(-1, keepdims=True)
    fixed = (spread <= 0) | (radius == 0)  # no loss can be gained, or no room to gain it
    gap = np.where(seen, (top - loss) / np.where(spread > 0, spread, 1), 0)

    radius = np.minimum(radius, _SATURATED)
    u = _solve(share, seen, gap, radius)
    log_odds = u + np.log(-np.expm1(-u))  # ln(e^u - 1)
    scaled = _log(gap) + log_odds
    log_mean = (share * np.logaddexp(0, scaled)).sum(-1, keepdims=True)
    room = log_mean - radius
    # (exp(room) - 1) / (e^u - 1), without differences of nearly equal numbers and without overflow
    small = np.expm1(np.minimum(room, 1)) * np.exp(-log_odds)
    beyond = np.where(room < 1, small, np.exp(room - log_odds) - np.exp(-log_odds))
    weights = share * np.exp(np.minimum(room - np.logaddexp(0, scaled), 700))
    free = (loss == top) & (share == 0) & ~((loss == top) & seen).any(-1, keepdims=True)
    left = np.maximum(1 - weights.sum(-1, keepdims=True), 0)
    weights = weights + left * free / np.maximum(free.sum(-1, keepdims=True), 1)
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(fixed, 1, total)
    plain = (share * loss).sum(-1, keepdims=True)
    value = np.where(fixed, plain, top - spread * beyond)[..., 0]
    return WorstMix(value, np.where(fixed, share, weights))


def number_of_types(n: int, classes: int) -> int:
    """In how many ways n labels can fall on the classes: binom(n + C - 1, C - 1).

    Raises:
        ValueError: n or classes is below 1 or not whole, or there are too many to hold (20 million numbers).
    """
    n, classes = int(_counts("n", n)), int(_counts("classes", classes))
    number = math.comb(n + classes - 1, classes - 1)
    if number * classes > _LARGEST:
        raise ValueError(
            f"{n} labels fall on {classes} classes in {number} ways, too many to enumerate: use fewer labels or classes, "
            "or simulate"
        )
    return number


def types(n: int, classes: int) -> npt.NDArray[np.int64]:
    """All ways in which n labels can fall on the classes: (N, C) counts.

    Raises:
        ValueError: As :func:`number_of_types`.

    >>> types(2, 2).tolist()
    [[0, 2], [1, 1], [2, 0]]
    """
    number_of_types(n, classes)
    columns: list[npt.NDArray[np.int64]] = []
    left = np.array([n], dtype=np.int64)
    for _ in range(classes - 1):
        ways = left + 1
        parent = np.repeat(np.arange(len(left)), ways)
        count = np.arange(len(parent)) - np.repeat(np.cumsum(ways) - ways, ways)
        columns = [column[parent] for column in columns]
        columns.append(count)
        left = left[parent] - count
    return np.stack([*columns, left], -1)


def log_probability(counts: npt.ArrayLike, shares: Numbers) -> Floats:
    """Logarithm of the multinomial probability of counts (..., C) for class shares (C,); -inf where it is 0."""
    k = np.asarray(counts, dtype=np.float64)
    p = _distribution("shares", shares)
    value: Floats = gammaln(k.sum(-1) + 1) + (xlogy(k, p) - gammaln(k + 1)).sum(-1)
    return value


def kl_from(drawn: Numbers, shares: Numbers) -> Floats:
    """KL(drawn || shares) in nats over the last dimension, (...); infinite where a class of share 0 was drawn."""
    value: Floats = rel_entr(_distribution("drawn", drawn), _distribution("shares", shares)).sum(-1)
    return value


def is_missed(drawn: Numbers, shares: Numbers, losses: Numbers, tau: Numbers) -> npt.NDArray[np.bool_]:
    """Whether the worst-case loss around drawn shares (..., C) is below the loss of the true shares (C,), (...)."""
    loss = _finite("losses", losses)
    below = loss - loss.max()  # equal losses are then exactly equal
    value = worst_mix(drawn, below, tau).value
    missed: npt.NDArray[np.bool_] = value < _distribution("shares", shares) @ below - _ROUNDING * np.ptp(below)
    return missed


def is_outside(drawn: Numbers, shares: Numbers, tau: Numbers) -> npt.NDArray[np.bool_]:
    """Whether the true shares (C,) lie outside the ball around drawn shares (..., C), (...)."""
    return kl_from(drawn, shares) > _radius(tau) + _ROUNDING


def coverage(shares: Numbers, losses: Numbers, tau: Numbers, n: int) -> Coverage:
    """Probability that the worst-case loss around n drawn labels misses the loss of the true class shares.

    Exact, by enumeration of all types. Values that agree to 1e-12 of their scale count as equal: equal losses are never
    missed, and the true shares lie in a ball of radius 0 around themselves.

    Args:
        shares: (C,) true class shares p, at least 0, that sum to 1.
        losses: (C,) finite class losses.
        tau: Radius of the ball in nats, (...), finite and at least 0.
        n: Number of labels drawn, at least 1.

    Raises:
        ValueError: A number is out of its range, or there are too many types to enumerate.

    Source: Zhang et al. 2024 (FAAL), theorem 1 (eq. 9), corrected: see the module.
    """
    p, loss, radius = _distribution("shares", shares), _finite("losses", losses), _radius(tau)
    if p.ndim != 1 or loss.shape != p.shape:
        raise ValueError(f"shares of shape {p.shape} and losses of shape {loss.shape}: give one of each per class")
    counts = types(n, len(p))
    logs = log_probability(counts, p)
    counts, chance = counts[np.isfinite(logs)], np.exp(logs[np.isfinite(logs)])
    if radius.size * counts.size > _LARGEST:
        raise ValueError(f"{radius.size} radii for {len(counts)} types are too many at once: give fewer radii")
    drawn = counts / n
    missed, outside = is_missed(drawn, p, loss, radius[..., None]), is_outside(drawn, p, radius[..., None])
    return Coverage(
        (chance * missed).sum(-1), (chance * outside).sum(-1), types_bound(len(p), n, radius), np.exp(-n * radius)
    )


def types_bound(classes: Numbers, n: Numbers, tau: Numbers) -> Floats:
    """``(n + 1)^C exp(-n tau)``, at most 1: bounds the probability that p leaves the ball around n drawn labels.

    Says something only for ``n tau > C ln(n + 1)``; see :func:`labels_needed`.

    Args:
        classes: Number of classes C, a whole number of at least 1; arrays broadcast.
        n: Number of labels drawn, a whole number of at least 1.
        tau: Radius of the ball in nats, finite and at least 0.

    Raises:
        ValueError: A number is out of its range.
    """
    size = _counts("n", n)
    exponent = _counts("classes", classes) * np.log1p(size) - size * _radius(tau)
    bound: Floats = np.exp(np.minimum(exponent, 0))
    return bound


def labels_needed(classes: Numbers, tau: Numbers) -> npt.NDArray[np.int64]:
    """The smallest n from which on the bound by types is below 1: ``n tau > C ln(n + 1)``.

    Args:
        classes: Number of classes C, at least 1.
        tau: Radius of the ball in nats, above 0; arrays broadcast.

    Raises:
        ValueError: There is no class, or tau is not above 0: then no number of labels suffices.
    """
    number, radius = np.asarray(classes, dtype=np.float64), _radius(tau)
    if not ((number >= 1).all() and (radius > 0).all()):
        raise ValueError(
            "classes must be at least 1 and tau above 0: in a ball of radius 0 no number of labels suffices"
        )
    rate = radius / number
    root = np.where(rate < 1, -lambertw(-np.minimum(rate, 1) * np.exp(-np.minimum(rate, 1)), -1).real / rate, 1)
    return np.maximum(np.floor(root), 1).astype(np.int64)  # floor(root - 1) + 1: the first whole number above


def _solve(share: Floats, seen: npt.NDArray[np.bool_], gap: Floats, radius: Floats) -> Floats:
    """The u at which the divergence is tau, (..., 1); the right end of its bracket where it stays below tau."""
    best = (share * (seen & (gap == 0))).sum(-1, keepdims=True)
    worst = (share * (gap == 1)).sum(-1, keepdims=True)
    worst = np.where(worst > 0, worst, 1)  # 0 only where all classes seen have one loss, and nothing is to solve
    # The divergence is at most u^2 / 8 (Hoeffding), and at least that of its two extreme classes. Where no class with
    # the largest loss was seen, it has a limit, reached within rounding once every e^u gap is large.
    low = np.sqrt(8 * np.maximum(radius, 1e-30))
    both = best + worst
    two = (radius + both * np.log(both / np.where(best > 0, best, 1))) / worst
    smallest = np.where(seen & (gap > 0), gap, 1).min(-1, keepdims=True)
    high = np.maximum(np.where(best > 0, two, 40 - np.log(smallest)), low)
    log_gap, root = _log(gap), np.sqrt(radius)
    low = np.where(_divergence(share, log_gap, high)[0] < radius, high, low)  # the limit is below tau: stay at the end
    u: Floats = low
    for _ in range(
        _STEPS
    ):  # Newton on the square root, which is nearly linear in u; halving where it leaves the bracket
        divergence, slope = _divergence(share, log_gap, u)
        size = np.sqrt(np.maximum(divergence, 0))
        below = size < root
        low, high = np.where(below, u, low), np.where(below, high, u)
        step = u - 2 * size * (size - root) / np.maximum(slope, 1e-300)
        u = np.where((step >= low) & (step <= high), step, (low + high) / 2)
    return u


def _divergence(share: Floats, log_gap: Floats, u: Floats) -> tuple[Floats, Floats]:
    """KL(reference || q) of the curve q ∝ p = reference / (1 + gap (e^u - 1)), and its slope in u, both (..., 1).

    Rounding is relative to u, not to 1, and nothing overflows.
    """
    scaled = log_gap + u + np.log(-np.expm1(-u))
    small = np.exp(-np.abs(scaled))
    lost, kept = np.where(scaled > 0, 1, small) / (1 + small), np.where(scaled > 0, small, 1) / (1 + small)
    mean_lost, mean_kept = (share * lost).sum(-1, keepdims=True), (share * kept).sum(-1, keepdims=True)
    mean_kept = np.maximum(mean_kept, 1e-300)
    log_kept = np.where(mean_lost < 0.5, np.log1p(-np.minimum(mean_lost, 0.5)), np.log(mean_kept))
    log_mean = (share * (np.maximum(scaled, 0) + np.log1p(small))).sum(-1, keepdims=True)
    variance = (share * (lost - mean_lost) ** 2).sum(-1, keepdims=True)
    return log_mean + log_kept, variance / (mean_kept * -np.expm1(-u))


def _log(values: Floats) -> Floats:
    return np.log(values, out=np.full(values.shape, -np.inf), where=values > 0)


def _distribution(name: str, values: Numbers) -> Floats:
    shares = np.asarray(values, dtype=np.float64)
    if shares.ndim == 0 or not (shares >= 0).all() or not (np.abs(shares.sum(-1) - 1) <= 1e-9).all():
        raise ValueError(f"{name} must be shares of the classes: at least 0, with sum 1 over the last dimension")
    return shares


def _finite(name: str, values: Numbers) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite numbers")
    return numbers


def _counts(name: str, values: Numbers) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 1) & (numbers == np.floor(numbers))).all():
        raise ValueError(f"{name} is {np.asarray(values)}: it counts, so give a whole number of at least 1")
    return numbers


def _radius(tau: Numbers) -> Floats:
    radius = np.asarray(tau, dtype=np.float64)
    if not (np.isfinite(radius) & (radius >= 0)).all():
        raise ValueError(f"tau is {radius}: the radius of the ball must be a finite number of nats, at least 0")
    return radius
