"""Worst-case class weights inside a Kullback-Leibler ball around uniform, solved without a convex program.

The problem is ``max_q q.l`` over the simplex, with q no further than tau nats from the uniform distribution U
of the classes present: ``KL(U || q) <= tau`` ("reverse", the ball of the FAAL paper) or ``KL(q || U) <= tau``
("forward"). Either optimum lies on a curve with one unknown, so a fixed number of tensor operations finds it:
a grid on the bracket of the unknown, then clipped Newton steps in the cell of the root. Nothing is read back
to the host.

Letters: C classes, P of them present, G grid points; ``gap`` = (max l - l_c) / (max l - min l) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Direction = Literal["reverse", "forward"]
Numbers = NDArray[Any] | Sequence[Any]

_TINY = 1e-300  # keeps a division finite where its result does not matter
_LARGEST_LOG = 600.0  # weights below e^-600 of the largest are not told apart, and nothing overflows


class _Problem(NamedTuple):
    """Losses brought to the unit range; every tensor has a trailing class dimension, of size C or 1."""

    gap: Tensor
    spread: Tensor
    number: Tensor | int
    root_tau: Tensor
    flat: Tensor
    present: Tensor | None


@overload
def worst_case_weights(
    losses: Tensor, tau: float | Tensor, present: Tensor | None = ..., direction: Direction = ...
) -> Tensor: ...
@overload
def worst_case_weights(
    losses: Numbers, tau: float | Numbers, present: Numbers | None = ..., direction: Direction = ...
) -> NDArray[Any]: ...
def worst_case_weights(
    losses: Tensor | Numbers,
    tau: float | Tensor | Numbers,
    present: Tensor | Numbers | None = None,
    direction: Direction = "reverse",
) -> Tensor | NDArray[Any]:
    """Class weights in a KL ball around uniform that make the weighted loss largest.

    The weights are constants: no gradient flows through them. Equal losses get equal weights. Losses that
    differ by no more than rounding (4 units in the last place of their dtype) count as equal, since the
    optimum is discontinuous there: it does not depend on the scale of the losses.

    Args:
        losses: (..., C) scores, larger is worse; any real dtype. A score of a present class that is not
            finite makes its problem NaN.
        tau: Radius of the ball in nats, at least 0; a number, or one per problem of shape (...,). Tensors are
            not checked, since that would read them back from the device: a negative entry gives NaN.
        present: (..., C) boolean; absent classes get weight 0, their losses are ignored, and "uniform" means
            uniform over the others. A problem without any present class gets zeros.
        direction: "reverse" for KL(U || q) <= tau, all weights positive; "forward" for KL(q || U) <= tau.

    Returns:
        (..., C) weights that sum to 1, in the dtype of the losses (float64 for integers); a tensor for a
        tensor, else NumPy.

    Raises:
        ValueError: If tau is negative or not finite, the direction is unknown, or the shapes do not fit.

    Source: Zhang et al. 2024 (FAAL), eq. 6-9, solved by its optimality conditions: reverse
    q_c ∝ 1/(nu - l_c), forward q_c ∝ exp(l_c / beta).

    >>> worst_case_weights([0.0, 1.0], 0.5).round(4).tolist()
    [0.1025, 0.8975]
    """
    _check_direction(direction)
    scores, mask = _as_tensor(losses), None if present is None else _as_tensor(present)
    problem = _normalised(scores, tau, mask)
    share = _reverse_shares(problem) if direction == "reverse" else _forward_shares(problem)
    if mask is not None:
        share = share.masked_fill(~mask, 0)
        share = share / share.sum(-1, keepdim=True).clamp_min(_TINY)
    else:
        share = share / share.sum(-1, keepdim=True)
    weights = share.to(scores.dtype) if scores.is_floating_point() else share
    return weights if isinstance(losses, Tensor) else weights.numpy()


@overload
def optimality_gap(
    losses: Tensor,
    weights: Tensor,
    tau: float | Tensor,
    present: Tensor | None = ...,
    direction: Direction = ...,
) -> Tensor: ...
@overload
def optimality_gap(
    losses: Numbers,
    weights: Numbers,
    tau: float | Numbers,
    present: Numbers | None = ...,
    direction: Direction = ...,
) -> NDArray[Any]: ...
def optimality_gap(
    losses: Tensor | Numbers,
    weights: Tensor | Numbers,
    tau: float | Tensor | Numbers,
    present: Tensor | Numbers | None = None,
    direction: Direction = "reverse",
) -> Tensor | NDArray[Any]:
    """Upper bound on what the optimum of a ball exceeds the weighted loss by, for any weights.

    By weak duality the optimum is at most ``nu - exp(-tau) GM(nu - l)`` for every nu > max l in the reverse ball, and at
    most ``beta tau + beta ln AM(exp(l / beta))`` for every beta > 0 in the forward ball, GM and AM the geometric and the
    arithmetic mean over the classes present; nu and beta only decide how tight the bound is. Weights outside the ball
    may get a negative result.

    Args:
        losses: (..., C) scores as given to :func:`worst_case_weights`.
        weights: (..., C) non-negative weights, 0 for absent classes; rescaled to sum to 1.
        tau: Radius of the ball in nats, a number or of shape (...,).
        present: (..., C) boolean, or all classes.
        direction: The ball, as in :func:`worst_case_weights`.

    Returns:
        (...,) bound in the unit of the losses, float64, exact to about 1e-15 of the range of the losses.

    Raises:
        ValueError: As :func:`worst_case_weights`.
    """
    _check_direction(direction)
    mask = None if present is None else _as_tensor(present)
    problem = _normalised(_as_tensor(losses), tau, mask)
    share = _as_tensor(weights).detach().double()
    classes = problem.gap.shape[-1]
    if share.shape[-1:] != (classes,):
        raise ValueError(f"weights have shape {tuple(share.shape)}: the last dimension must hold the {classes} classes")
    _check_shapes("weights", share.shape, problem.root_tau.shape)
    share = share / share.sum(-1, keepdim=True).clamp_min(_TINY)
    if direction == "reverse":
        odds = torch.expm1(_reverse_unknown(problem))
        scaled = problem.gap * odds
        log_mean = torch.log1p(scaled).sum(-1, keepdim=True) / problem.number
        # The range times ((nu - q.l) - exp(-tau) GM(nu - l)), written in differences from nu - max l.
        bound = (share * scaled).sum(-1, keepdim=True) - torch.expm1(log_mean - problem.root_tau.square())
        gap = bound * problem.spread.clamp_min(0) / odds
    else:
        # The range times (max l - q.l + beta (tau + ln AM(exp((l - max l) / beta)))).
        bound = (share * problem.gap).sum(-1, keepdim=True) + _forward_excess(problem)
        gap = bound * problem.spread.clamp_min(0)
    gap = gap.squeeze(-1)
    return gap if isinstance(losses, Tensor) else gap.numpy()


class DualOptimum(NamedTuple):
    """What :func:`dual_optimum` returns; tensors for tensors, else NumPy, all of shape (...,) and float64."""

    value: Any
    """The largest weighted loss in the ball."""
    unknown: Any
    """nu (reverse) or beta (forward), in the unit of the losses; infinite where the weights are uniform."""


def dual_optimum(
    losses: Tensor | Numbers,
    tau: float | Tensor | Numbers,
    present: Tensor | Numbers | None = None,
    direction: Direction = "reverse",
) -> DualOptimum:
    """The largest weighted loss in the ball, computed from the dual alone, and the number that gives the weights.

    The optimal weights are q_c ∝ 1 / (nu - l_c) in the reverse ball and q_c ∝ exp(l_c / beta) in the forward ball, where
    beta = 0 means: all weight on the largest losses. Equal losses, or tau = 0, give uniform weights. The value uses none
    of the weights, so it checks them: it equals ``weights @ losses`` up to rounding.

    Args:
        losses: (..., C) scores as given to :func:`worst_case_weights`.
        tau: Radius of the ball in nats, a number or of shape (...,).
        present: (..., C) boolean, or all classes. Without any present class the value is 0.
        direction: The ball, as in :func:`worst_case_weights`.

    Raises:
        ValueError: As :func:`worst_case_weights`.

    >>> value, nu = dual_optimum([0.0, 1.0], 0.5)
    >>> round(float(value), 4), round(float(nu), 4)
    (0.8975, 1.1289)
    """
    _check_direction(direction)
    scores, mask = _as_tensor(losses), None if present is None else _as_tensor(present)
    problem = _normalised(scores, tau, mask)
    numbers = scores.detach().double()
    kept = numbers if mask is None else numbers.masked_fill(~mask, -math.inf)
    top, spread = kept.amax(-1, keepdim=True), problem.spread.clamp_min(0)
    if direction == "reverse":
        odds = torch.expm1(_reverse_unknown(problem))
        log_mean = torch.log1p(problem.gap * odds).sum(-1, keepdim=True) / problem.number
        value = top - spread * torch.expm1(log_mean - problem.root_tau.square()) / odds
        unknown = top + spread / odds
    else:
        x, saturated, _ = _forward_unknown(problem)
        value = top + spread * _forward_excess(problem)
        unknown = (spread * torch.exp(-x)).masked_fill(saturated, 0)
    mean = (numbers if mask is None else numbers.masked_fill(~mask, 0)).sum(-1, keepdim=True) / problem.number
    value = torch.where(problem.flat | torch.isneginf(top), mean, value).squeeze(-1)
    unknown = unknown.masked_fill(problem.flat, math.inf).squeeze(-1)
    return DualOptimum(value, unknown) if isinstance(losses, Tensor) else DualOptimum(value.numpy(), unknown.numpy())


@overload
def attainable_range(classes: int, tau: float) -> tuple[float, float]: ...
@overload
def attainable_range(classes: int, tau: Numbers) -> tuple[NDArray[Any], NDArray[Any]]: ...
def attainable_range(classes: int, tau: float | Numbers) -> tuple[float, float] | tuple[NDArray[Any], NDArray[Any]]:
    """Smallest and largest weight that a class can get in the reverse ball, whatever the losses.

    They are the two roots x of ``-(1/C) ln(C x) - ((C-1)/C) ln(C (1-x)/(C-1)) = tau``, reached when one class
    differs from all others, which are equal.

    Args:
        classes: Number of classes C, a whole number of at least 1.
        tau: Radius of the ball in nats, at least 0; a number, or an array (...).

    Returns:
        (smallest, largest), with 0 < smallest <= 1/C <= largest < 1 for C > 1: two numbers for a number, two float64
        arrays (...) for an array.

    Raises:
        ValueError: If there is no class, their number is not whole, or a tau is negative or not finite.
    """
    if not isinstance(classes, Integral) or classes < 1:
        raise ValueError(f"classes is {classes}: give the number of classes, a whole number of at least 1")
    best_and_worst = np.zeros((2, int(classes)))
    best_and_worst[:, 0] = -1, 1
    radii = np.asarray(tau, dtype=np.float64)
    if radii.ndim == 0:
        smallest, largest = worst_case_weights(best_and_worst, float(radii))[:, 0].tolist()
        return smallest, largest
    ends = worst_case_weights(best_and_worst, radii[..., None])[..., 0]
    return ends[..., 0], ends[..., 1]


def _check_direction(direction: str) -> None:
    if direction not in ("reverse", "forward"):
        raise ValueError(f"direction {direction!r} is unknown: use 'reverse' or 'forward'")


def _check_shapes(name: str, given: Sequence[int], problems: Sequence[int]) -> tuple[int, ...]:
    """The shape to which both broadcast, the last dimension apart from which they count problems."""
    try:
        return np.broadcast_shapes(tuple(given), tuple(problems))
    except ValueError:
        raise ValueError(
            f"{name} is for problems of shape {tuple(given[:-1])}, the losses are of {tuple(problems[:-1])}: give one for "
            "all, or one per problem"
        ) from None


def _as_tensor(values: Tensor | Numbers) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _normalised(losses: Tensor, tau: float | Tensor | Numbers, present: Tensor | None) -> _Problem:
    if losses.dim() == 0 or losses.shape[-1] == 0:
        raise ValueError(f"losses have shape {tuple(losses.shape)}: the last dimension must hold the classes")
    resolution = 4 * (torch.finfo(losses.dtype).eps if losses.is_floating_point() else 2**-52)
    losses = losses.detach().double()
    count: Tensor | int
    if present is None:
        low, top = torch.aminmax(losses, dim=-1, keepdim=True)
        gap, count = top - losses, losses.shape[-1]
    else:
        if present.dtype != torch.bool or present.shape[-1:] != losses.shape[-1:]:
            raise ValueError(
                f"present must be a boolean mask over the {losses.shape[-1]} classes, "
                f"got {present.dtype} of shape {tuple(present.shape)}"
            )
        if present.shape != losses.shape:
            _check_shapes("present", present.shape, losses.shape)
        top = losses.masked_fill(~present, -math.inf).amax(-1, keepdim=True)
        low = losses.masked_fill(~present, math.inf).amin(-1, keepdim=True)
        # A gap of zero adds nothing to the sums below: divided by the count they are means over the present.
        gap = (top - losses).masked_fill(~present, 0)
        count = present.sum(-1, keepdim=True).clamp_min(1)
    spread = top - low
    gap = gap / spread.clamp_min(_TINY)
    root_tau = _root(tau, losses.device)
    shape = _check_shapes("tau", root_tau.shape, spread.shape)
    flat = (spread <= resolution * torch.maximum(top, -low)) | (root_tau == 0)
    root_tau = root_tau.clamp_min(1e-15).expand(shape)
    return _Problem(gap, spread, count, root_tau, flat, present)


def _root(tau: float | Tensor | Numbers, device: torch.device) -> Tensor:
    """Square root of tau, shape (..., 1)."""
    if isinstance(tau, Tensor):
        return tau.detach().to(device, torch.float64).sqrt().unsqueeze(-1)
    radii = np.asarray(tau, dtype=np.float64)
    if not np.all((radii >= 0) & (radii < math.inf)):
        raise ValueError(f"tau is {tau}: the radius of the ball must be a finite number of nats, at least 0")
    if radii.ndim == 0:  # a fill is queued on the device; a copy from the host would wait for it
        return torch.full((1,), math.sqrt(radii), dtype=torch.float64, device=device)
    return torch.from_numpy(np.sqrt(radii)).to(device).unsqueeze(-1)


def _effort(gap: Tensor) -> tuple[int, int]:
    """Grid points and Newton steps: many points in few launches, or less arithmetic where that costs more."""
    return (64, 4) if gap.numel() <= 1024 else (16, 6)


def _count_at(count: Tensor | int) -> Tensor | int:
    """The number of classes, shaped for tensors with a grid dimension before the class dimension."""
    return count if isinstance(count, int) else count.unsqueeze(-2)


def _cell(grid: Tensor, height: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cell where a rising function, ``height`` on the grid, meets the target, and the secant's guess."""
    right = (height < target).sum(-1, keepdim=True).clamp_(1, grid.shape[-1] - 1)
    start, end = grid.gather(-1, right - 1), grid.gather(-1, right)
    below, above = height.gather(-1, right - 1), height.gather(-1, right)
    guess = start + (target - below) / (above - below).clamp_min(_TINY) * (end - start)
    return start, end, torch.clamp(guess, start, end)


# Reverse ball. With u = ln(1 + range / (nu - max l)) the optimum is q_c ∝ p_c = 1 / (1 + gap_c (e^u - 1)),
# and KL(U || q) = ln mean(p) - mean ln(p) rises from 0 with u. Its square root is nearly linear in u.


def _reverse_shares(problem: _Problem) -> Tensor:
    odds = torch.expm1(_reverse_unknown(problem)).masked_fill(problem.flat, 0)
    return (1 + problem.gap * odds).reciprocal()


def _reverse_unknown(problem: _Problem) -> Tensor:
    """The u at which the divergence is tau, shape (..., 1)."""
    gap, count, root = problem.gap, problem.number, problem.root_tau
    points, steps = _effort(gap)
    # The divergence is at most u^2 / 8 (Hoeffding), at least (2 / P) ln cosh(u / 2) (two extreme classes).
    half = count * root.square() / 2
    low = (math.sqrt(8) * root).clamp_max(_LARGEST_LOG)
    high = (2 * (half + torch.log1p((-torch.expm1(-2 * half)).sqrt()))).clamp_max(_LARGEST_LOG)
    ladder = torch.linspace(0, 1, points, dtype=torch.float64, device=gap.device)
    grid = low * (high / low) ** ladder
    on_grid, _, _ = _reverse_divergence(gap.unsqueeze(-2) * torch.expm1(grid).unsqueeze(-1), _count_at(count))
    start, end, u = _cell(grid, on_grid.squeeze(-1).sqrt(), root)
    for _ in range(steps):
        odds = torch.expm1(u)
        divergence, lost, mean_lost = _reverse_divergence(gap * odds, count)
        variance = (lost * lost).sum(-1, keepdim=True) / count - mean_lost * mean_lost
        slope = variance * (1 + odds) / (odds * (1 - mean_lost))
        size = divergence.sqrt()
        u = torch.clamp(u - 2 * size * (size - root) / slope.clamp_min(_TINY), start, end)
    return u


def _reverse_divergence(scaled: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor, Tensor]:
    """KL(U || q), 1 - p and its mean, from gap_c (e^u - 1); the rounding is relative to u, not to 1."""
    lost = scaled / (1 + scaled)
    mean_lost = lost.sum(-1, keepdim=True) / count
    divergence = torch.log1p(scaled).sum(-1, keepdim=True) / count + torch.log1p(-mean_lost)
    return divergence.clamp_min(0), lost, mean_lost


# Forward ball. With g = range / beta the optimum is q_c ∝ exp(-g gap_c); KL(q || U) rises with g from 0 to
# ln(P / k), k the number of classes with the largest loss. The unknown is x = ln g, and the height that is
# compared with its target is ln(KL / (ln(P / k) - KL)).


def _forward_shares(problem: _Problem) -> Tensor:
    x, saturated, top = _forward_unknown(problem)
    sharp = torch.exp(x).masked_fill(problem.flat, 0)
    return torch.where(saturated & ~problem.flat, top.double(), torch.exp(-sharp * problem.gap))


def _forward_excess(problem: _Problem) -> Tensor:
    """(tau + ln AM(exp(-g gap))) / g: the dual less max l, in units of the range; 0 at its limit for large g."""
    x, saturated, _ = _forward_unknown(problem)
    sharp = torch.exp(x)
    log_mean = torch.log1p(torch.expm1(-sharp * problem.gap).sum(-1, keepdim=True) / problem.number)
    return ((problem.root_tau.square() + log_mean) / sharp).masked_fill(saturated, 0)


def _forward_unknown(problem: _Problem) -> tuple[Tensor, Tensor, Tensor]:
    """The x at which the divergence is tau, whether tau is at least the largest one, and which losses are largest."""
    gap, count, tau = problem.gap, problem.number, problem.root_tau.square()
    points, steps = _effort(gap)
    top = gap == 0
    winners = top if problem.present is None else top & problem.present
    largest = torch.log(count / winners.double().sum(-1, keepdim=True).clamp_min(1))
    target = torch.log(tau / (largest - tau).clamp_min(_TINY))
    # Below: the divergence is at most g^2 / 8. Above: all but the largest vanish in float64.
    low = math.log(8) / 2 + torch.log(tau) / 2
    high = torch.log(750 / gap.masked_fill(top, 1).amin(-1, keepdim=True))
    ladder = torch.linspace(0, 1, points, dtype=torch.float64, device=gap.device)
    for _ in range(2):  # twice: the height has steps wherever losses of another size drop out
        grid = low + (high - low) * ladder
        sharp = torch.exp(grid).unsqueeze(-1)
        on_grid, _ = _forward_divergence(gap.unsqueeze(-2), sharp, _count_at(count))
        low, high, x = _cell(grid, _log_odds(on_grid.squeeze(-1), largest), target)
    for _ in range(steps):
        sharp = torch.exp(x)
        divergence, variance = _forward_divergence(gap, sharp, count)
        slope = sharp * sharp * variance * largest / (divergence * (largest - divergence)).clamp_min(_TINY)
        step = (_log_odds(divergence, largest) - target) / slope.clamp_min(_TINY)
        x = torch.clamp(x - step, low, high)
    return x, tau >= largest, top


def _forward_divergence(gap: Tensor, sharp: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor]:
    """KL(q || U) and the variance of the gap under q."""
    change = torch.expm1(-sharp * gap)
    mean_change = change.sum(-1, keepdim=True) / count
    total = count * (1 + mean_change)
    weighted = (1 + change) * gap
    mean_gap = weighted.sum(-1, keepdim=True) / total
    variance = (weighted * gap).sum(-1, keepdim=True) / total - mean_gap * mean_gap
    return (-sharp * mean_gap - torch.log1p(mean_change)).clamp_min(_TINY), variance


def _log_odds(divergence: Tensor, largest: Tensor) -> Tensor:
    return torch.log(divergence / (largest - divergence).clamp_min(_TINY))
