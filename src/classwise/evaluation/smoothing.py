"""Randomised smoothing of single samples: votes under Gaussian noise, and what may be concluded from them.

The smoothed classifier answers with the class that the base classifier names most often when N(0, sigma^2) is added to
its input. Where that class has probability above 1/2, no change of the input shorter than sigma * Phi^-1(probability)
in l_2 changes the answer. The probability is bounded from below by votes, so a certificate is a statistical statement:
it is wrong with probability alpha at most.

Source: Cohen, Rosenfeld, Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019, theorem 1 and
the procedures CERTIFY and PREDICT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from classwise.attacks.base import Classifier
from classwise.attacks.losses import widen
from classwise.configuration import config
from classwise.metrics import clopper_pearson_bounds
from classwise.radius import Radius
from classwise.randomness import KeyedNoise

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Stop = Literal["never", "abstain", "split-alpha"]
"""When voting ends early; see :class:`Sampling`."""

Found = tuple[int, float, int, int]
"""Prediction, certified radius, votes and hits of one sample."""

ABSTAIN = -1
"""Prediction of a sample about which nothing is claimed."""

GROWTH = 4
"""Votes at a look over votes at the look before."""

SELECTION, ESTIMATION, PREDICTION = range(3)
"""Streams of noise: votes that choose a class never count towards its bound."""


@config
class Sampling:
    """How many noisy copies of a sample vote, and when voting ends.

    "never": all ``n`` votes, one bound at level alpha; the published procedure.

    "abstain": looks after n/4, n/16, … votes; ends early only to abstain, where the upper limit of the class's
    probability at level alpha is below 1/2. A certificate is given after all ``n`` votes only, so it is wrong with
    probability alpha at most, as before; a sample whose class is just above 1/2 may be given up.

    "split-alpha": the same looks, K in all, each with a bound at level alpha / K. All K bounds hold together with
    probability 1 - alpha (Bonferroni), so voting may end at any of them, for whatever reason: here to abstain as
    above, or because the certified radius reaches ``enough``. Radii beyond ``enough`` are then understated.

    Source: Cohen et al. 2019 for "never"; the other rules are the union bound. Looking at the bound of level alpha
    again and again, and stopping when it pleases, would not keep the level.
    """

    sigma: Radius
    """Standard deviation of the noise, in units of the pixel range."""
    n0: int = 100
    """Votes that choose the class."""
    n: int = 100_000
    """Fresh votes, at most, that bound the probability of the chosen class."""
    alpha: float = 0.001
    """Greatest probability that a certificate is wrong."""
    stop: Stop = "never"
    """When voting ends early."""
    looks: int = 5
    """Looks of the stopping rules, the last one after all votes."""
    enough: Radius = Radius(0)
    """Certified radius at which "split-alpha" ends, in units of the pixel range; needed there."""

    def check(self) -> None:
        """Refuse noise without width, counts below one, levels at which nothing could be claimed, and unknown rules."""
        if self.stop not in get_args(Stop):
            raise ValueError(f"stop {self.stop!r} is not known: use one of {', '.join(get_args(Stop))}")
        if not self.sigma > 0:
            raise ValueError("sigma must be above 0: give the standard deviation of the noise, such as 0.25")
        if self.n0 < 1 or self.n < 1 or self.looks < 1:
            raise ValueError(f"n0 {self.n0}, n {self.n} and looks {self.looks} must be at least 1")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha {self.alpha} must lie between 0 and 0.5, such as 0.001")
        if self.stop == "split-alpha" and not self.enough > 0:
            raise ValueError("stop split-alpha needs the radius at which to stop: set enough, such as 0.5")
        if self.stop != "split-alpha" and self.enough > 0:
            raise ValueError(f"enough {self.enough} has no effect with stop {self.stop!r}: use stop split-alpha")

    @property
    def schedule(self) -> tuple[int, ...]:
        """Votes in all at each look, rising to ``n``: n / 4^(looks - 1), …, n / 4, n, rounded down."""
        looks = 1 if self.stop == "never" else self.looks
        return tuple(sorted({self.n // GROWTH**i for i in range(looks)} - {0}))

    @property
    def level(self) -> float:
        """Miss probability of the bound at one look."""
        return self.alpha / len(self.schedule) if self.stop == "split-alpha" else self.alpha

    def judge(self, look: int, hits: npt.ArrayLike) -> Verdict:
        """What the votes say at a look.

        Args:
            look: Its position in the schedule.
            hits: Votes for the chosen class of each of S samples so far, shape (S,).
        """
        votes, is_last = self.schedule[look], look == len(self.schedule) - 1
        low, high = clopper_pearson_bounds(hits, votes, self.level, self.level)
        radius = certified_radius(low, float(self.sigma))
        reached = (radius >= float(self.enough)) & (low >= 0.5) & (self.stop == "split-alpha")
        done = np.full(low.shape, True) if is_last else (high < 0.5) | reached
        return Verdict(done, done & (low >= 0.5), np.where(done, radius, 0.0))


@dataclass(frozen=True)
class Verdict:
    """State of S samples at a look.

    Args:
        done: (S,) whether voting has ended.
        certified: (S,) whether it has ended with a certificate and not with an abstention.
        radius: (S,) the certified l_2 radius in units of the pixel range; 0 without certificate.
    """

    done: Bools
    certified: Bools
    radius: Floats


@dataclass(frozen=True)
class Bounded:
    """What S samples ended with.

    Args:
        prediction: (S,) class that is certified, or :data:`ABSTAIN`.
        radius: (S,) certified l_2 radius in units of the pixel range; 0 without certificate.
        votes: (S,) votes it took.
        hits: (S,) how many of them were for the chosen class.
    """

    prediction: Ints
    radius: Floats
    votes: Ints
    hits: Ints

    def rows(self) -> list[Found]:
        """The same sample by sample."""
        return list(zip(*(column.tolist() for column in vars(self).values()), strict=True))


def bound(sampling: Sampling, top: Ints, draw: Callable[[Ints, range], npt.ArrayLike]) -> Bounded:
    """Draw votes until the stopping rule ends them.

    Args:
        sampling: The rule.
        top: (S,) the class that was chosen for each sample, without the votes drawn here.
        draw: From positions of samples, shape (A,), and the numbers of their next votes, the count of those votes that
            are for the chosen class, shape (A,).
    """
    certified, radius = np.zeros(top.shape, np.bool_), np.zeros(top.shape)
    votes, hits = np.zeros(top.shape, np.int64), np.zeros(top.shape, np.int64)
    active, before = np.arange(len(top)), 0
    for look, now in enumerate(sampling.schedule):
        if not len(active):
            break
        hits[active] += np.asarray(draw(active, range(before, now)), np.int64)
        votes[active] = now
        verdict = sampling.judge(look, hits[active])
        certified[active], radius[active] = verdict.certified, verdict.radius
        active, before = active[~verdict.done], now
    return Bounded(np.where(certified, top, ABSTAIN), radius, votes, hits)


def certified_radius(probability: npt.ArrayLike, sigma: float) -> Floats:
    """l_2 radius sigma * Phi^-1(p) inside which the answer cannot change; 0 where p is at most 1/2.

    Args:
        probability: Lower bounds of the probability of the answer under noise, below 1, any shape.
        sigma: Standard deviation of the noise; the radius has its unit.
    """
    from scipy.special import ndtri

    return np.asarray(sigma * ndtri(np.maximum(np.asarray(probability, np.float64), 0.5)), np.float64)


def predict(counts: npt.ArrayLike, alpha: float) -> Ints:
    """The smoothed classifier's answer, or :data:`ABSTAIN`.

    Two-sided binomial test of the two classes with most votes against equal probability. An answer differs from that of
    infinitely many votes with probability alpha at most.

    Args:
        counts: Votes of each class, shape (…, K).
        alpha: Greatest probability of a wrong answer.

    Returns:
        Classes or :data:`ABSTAIN`, shape (…).

    Source: Cohen et al. 2019, PREDICT.
    """
    from scipy.special import betainc

    votes = np.asarray(counts, np.int64)
    second, first = np.moveaxis(np.sort(votes, axis=-1)[..., -2:], -1, 0)
    # The upper tail of a fair coin as a beta function; at equal counts the two tails overlap.
    p_value = np.minimum(2 * betainc(np.maximum(first, 1), second + 1, 0.5), 1)
    return np.where(p_value <= alpha, votes.argmax(-1), ABSTAIN).astype(np.int64)


@dataclass(frozen=True)
class Smoothed:
    """A classifier under Gaussian noise, as a source of votes.

    Noise is keyed by seed, sample index, stream and number of the copy: a vote does not depend on order, company or
    batch size, but for the rounding of the base classifier. Values end at 5.8 standard deviations (24 random bits each).

    Args:
        model: The base classifier, on the device.
        classes: Number of its classes K.
        sigma: Standard deviation of the noise, in units of the pixel range.
        seed: Seed of the noise.
        batch_size: Noisy copies of a batch; the last one is padded to this size.
        device: Where the model is.
    """

    model: Classifier
    classes: int
    sigma: float
    seed: int = 0
    batch_size: int = 1000
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    def votes(
        self, x: Tensor, index: Tensor, copies: range, stream: int, advance: Callable[[int], None] = lambda _: None
    ) -> Ints:
        """Count the answers to noisy copies of some images; the host waits for the device once, at the end.

        Args:
            x: Images (S, C, H, W), float32 in [0, 1], on the device.
            index: (S,) index of each in its data set.
            copies: Numbers of the copies of each image.
            stream: Which stream of noise: :data:`SELECTION`, :data:`ESTIMATION` or :data:`PREDICTION`.
            advance: Told how many copies are done, after each batch.

        Returns:
            Votes (S, K).

        Raises:
            ValueError: The model's output is not finite.
        """
        total = len(x) * len(copies)
        key = index.to(self.device)
        votes = torch.zeros(len(x) * self.classes, dtype=torch.int64, device=self.device)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        with torch.no_grad():
            for start in range(0, total, self.batch_size):
                place = torch.arange(start, start + self.batch_size, device=self.device)
                is_vote, place = place < total, place.clamp_max(total - 1)
                row, copy = place // len(copies), place % len(copies) + copies.start
                image = x[row]
                noise = KeyedNoise(self.seed, key[row], stream, copy).normal(image)
                logits = widen(self.model(image + self.sigma * noise))
                finite &= logits.isfinite().all()
                votes.scatter_add_(0, row * self.classes + logits.argmax(1), is_vote.long())
                advance(min(self.batch_size, total - start))
        if not bool(finite):
            raise ValueError(
                "the model's output has entries that are not finite under noise: check its weights and its input scaling"
            )
        counted: Ints = votes.view(len(x), self.classes).cpu().numpy()
        return counted

    def certify(
        self, x: Tensor, index: Tensor, sampling: Sampling, advance: Callable[[int], None] = lambda _: None
    ) -> Bounded:
        """Certify some images, whose noisy copies share batches; arguments as for :meth:`votes`.

        Source: Cohen et al. 2019, CERTIFY.
        """
        top = self.votes(x, index, range(sampling.n0), SELECTION, advance).argmax(1)

        def draw(active: Ints, copies: range) -> Ints:
            rows = torch.from_numpy(active).to(self.device)
            votes = self.votes(x[rows], index[rows], copies, ESTIMATION, advance)
            hits: Ints = votes[np.arange(len(active)), top[active]]
            return hits

        bounded = bound(sampling, top, draw)
        advance(len(x) * sampling.n - int(bounded.votes.sum()))  # votes that were not needed
        return bounded

    def predict(self, x: Tensor, index: Tensor, n: int = 1000, alpha: float = 0.001) -> Ints:
        """The smoothed classifier's answers to some images by ``n`` votes each, (S,); see :func:`predict`."""
        return predict(self.votes(x, index, range(n), PREDICTION), alpha)
