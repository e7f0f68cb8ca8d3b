"""Same-class (domain) mixup between two Gaussian classes: what it does to the class errors of the best linear classifier.

Each training point is replaced by ``lambda x + (1 - lambda) x'`` of two draws of its class, which leaves the means alone and
multiplies both variances by ``g = lambda^2 + (1 - lambda)^2``. With z_+ and z_- the distances of the class means from the
boundary, in standard deviations of the data themselves and after the training radius, and L the log-odds
``ln(prior sigma_minus / ((1 - prior) sigma_plus))``, the trained classifier obeys

    z_+^2 - z_-^2 = 2 g L.

So mixup multiplies L by g and does nothing else: it is training without mixup at another prior, and leaves the direction of
the classifier alone. Its offset moves from that of plain training (g = 1) towards the one at which both classes err alike
(the limit g = 0, which no lambda reaches: g is at least 1/2). Hence, on the data themselves and at the training radius, the
gap between the class errors shrinks, the worse class gains, the better class loses, and the average error grows. The
errors on mixed data, which are those of the paper, are smaller in addition because the test data have less spread.

A gap at another radius than that of training need not shrink. Equal variances and equal priors have L = 0, and nothing
changes.

Source: Zhong and Tandon, "Learning fair robustness via domain mixup", definition 1, theorems 3 and 4, remarks 1 to 4;
corrected. What is printed stands in :mod:`classwise.theory.mixup_printed`, a random lambda in
:mod:`classwise.theory.mixup_random`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from classwise.theory.gaussian_mixture import ClassErrors, Floats, GaussianPair, Linear, Numbers

_NO_ODDS = 1e-12
"""Log-odds below this are 0 up to rounding."""


def variance_factor(lam: Numbers) -> Floats:
    """The factor g = lambda^2 + (1 - lambda)^2 of both variances, (...), from 1/2 at lambda = 1/2 to 1.

    Args:
        lam: Share of a point itself, (...), in [0, 1].

    Raises:
        ValueError: A share lies outside [0, 1].
    """
    share = np.asarray(lam, dtype=np.float64)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("lam must lie in [0, 1]: it is the share of a point itself, and 1 is no mixing")
    return share**2 + (1 - share) ** 2


@dataclass(frozen=True, kw_only=True)
class DomainPair:
    """Two Gaussian classes as the paper writes them (definition 1): means mu_plus 1 and -mu_minus 1.

    Args:
        d: Number of features, (...), at least 1.
        mu_plus: Mean of every feature in class +1, (...).
        mu_minus: Minus the mean of every feature in class -1, (...); with ``mu_plus`` it adds to something above 0.
        sigma_plus: Standard deviation in class +1, (...), above 0.
        sigma_minus: The same of class -1.
        prior: Share of class +1 (the paper's alpha), (...), strictly between 0 and 1.

    Raises:
        ValueError: A number is out of range or not finite, or the shapes do not broadcast.

    >>> classes = DomainPair(d=4, mu_plus=0.5, mu_minus=0.3, sigma_plus=1.0, sigma_minus=1.0, prior=0.7)
    >>> plain, _, original = errors_of_mixup(classes.pair, variance_factor(0.5))
    >>> [round(float(each), 4) for each in (*plain, *original)]
    [0.0918, 0.3934, 0.1435, 0.2962]
    """

    d: Numbers
    mu_plus: Numbers
    mu_minus: Numbers
    sigma_plus: Numbers
    sigma_minus: Numbers
    prior: Numbers = 0.5

    def __post_init__(self) -> None:
        for name in ("d", "mu_plus", "mu_minus", "sigma_plus", "sigma_minus", "prior"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds values that are not finite: give finite numbers")
            object.__setattr__(self, name, values)
        if not (np.asarray(self.d) >= 1).all():
            raise ValueError("d must be at least 1: it is the number of features")
        try:
            distance = self.distance()
        except ValueError as error:
            raise ValueError(
                f"mu_plus and mu_minus do not broadcast: give numbers or arrays (...) ({error})"
            ) from error
        if not (distance > 0).all():
            raise ValueError(
                "mu_plus + mu_minus must be above 0: class -1 has its mean at -mu_minus; swap the classes if it lies above"
            )
        _ = self.pair

    @cached_property
    def pair(self) -> GaussianPair:
        """The same classes in the general form."""
        plus, minus, d = (np.asarray(each, dtype=np.float64) for each in (self.mu_plus, self.mu_minus, self.d))
        return GaussianPair(
            theta=(plus + minus)[..., None] / 2,
            mid=(plus - minus)[..., None] / 2,
            times=d[..., None],
            sigma_plus=self.sigma_plus,
            sigma_minus=self.sigma_minus,
            prior=self.prior,
        )

    def distance(self, radius: Numbers = 0.0) -> Floats:
        """S = mu_plus + mu_minus - 2 radius, (...): what a perturbation of the radius leaves between the means."""
        left: Floats = np.asarray(self.mu_plus) + np.asarray(self.mu_minus) - 2 * np.asarray(radius, dtype=np.float64)
        return left

    def threshold(self, classifier: Linear) -> Floats:
        """The paper's eta* (theorem 3) and s* (theorem 4): t of ``sign(sum of the features + t)``, (...).

        Right for every d. NaN where the training radius left no margin, since the weights are then not all equal.
        """
        d = np.asarray(self.d)
        even = classifier.times[..., 0] == d
        shift = d * (np.asarray(self.mu_plus) - np.asarray(self.mu_minus)) / 2
        return np.where(even, np.sqrt(d) * classifier.offset - shift, np.nan)

    def chain_threshold(self, radius: Numbers = 0.0) -> Floats:
        """Least g at which remarks 2 and 4 hold on mixed data: d^4 S^4 / (4 K^2 sigma^4), K = d ln(prior / (1 - prior)).

        At and above it ``R_+ <= R_+(mixup) <= R_-(mixup) <= R_-`` for a prior of at least 1/2. Since g is at most 1, the
        chain needs a threshold of at most 1, and that means that plain training answers at least half of class -1 wrongly.
        Below the threshold mixup lowers both errors on mixed data. (On the data themselves the chain always holds.)

        Returns:
            The threshold, (...); infinite for equal priors. NaN where the variances differ (the remarks leave them out),
            and where the radius leaves no margin: one answer for every point is best there, with and without mixup.
        """
        d, sigma = np.asarray(self.d), np.asarray(self.sigma_plus)
        left = self.distance(radius)
        with np.errstate(divide="ignore", invalid="ignore"):
            threshold = (d * left**2 / (2 * self.pair.log_odds * sigma**2)) ** 2
        return np.where((sigma == np.asarray(self.sigma_minus)) & (left > 0), threshold, np.nan)


class MixupErrors(NamedTuple):
    """Class errors with and without mixup."""

    plain: ClassErrors
    """Of training without mixup, on the data themselves."""
    mixed: ClassErrors
    """Of training with mixup, on mixed data: the risks of the paper's theorems."""
    original: ClassErrors
    """Of training with mixup, on the data themselves: what an audit measures."""


def errors_of_mixup(
    pair: GaussianPair, factor: Numbers, train_radius: Numbers = 0.0, test_radius: Numbers | None = None
) -> MixupErrors:
    """Class errors of the best linear classifiers with and without same-class mixup.

    Args:
        pair: The two classes.
        factor: Factor g of the variances, (...), such as :func:`variance_factor` gives.
        train_radius: l_inf radius of training, (...), at least 0; 0 is natural training.
        test_radius: l_inf radius of the test, (...); that of training where it is not given.

    Raises:
        ValueError: A radius is negative or not finite, or the factor is not above 0.
    """
    test = train_radius if test_radius is None else test_radius
    plain, mixed = pair.best_linear(train_radius), pair.best_linear(train_radius, factor)
    return MixupErrors(pair.errors(plain, test), pair.errors(mixed, test, factor), pair.errors(mixed, test))


def equivalent_prior(pair: GaussianPair, factor: Numbers) -> Floats:
    """The prior of class +1 at which training without mixup gives the classifier that mixup gives, (...).

    Its odds are ``(prior / (1 - prior))^g (sigma_plus / sigma_minus)^(1 - g)``: mixup takes the prior towards the one that
    makes both classes err alike, and with equal priors it puts weight on the class with more spread.

    The two optima between the classes are one. For unequal variances it can still happen that one answer for everything is
    better than it without mixup, at the equivalent prior, and worse with mixup.
    """
    ratio = np.log(np.asarray(pair.sigma_plus) / np.asarray(pair.sigma_minus))
    return np.asarray(expit(np.asarray(factor, dtype=np.float64) * pair.log_odds + ratio))


def effective_factor(pair: GaussianPair, classifier: Linear, radius: Numbers = 0.0) -> Floats:
    """The g of the fixed lambda that would give a classifier its offset, (...): (z_+^2 - z_-^2) / (2 L).

    Args:
        pair: The two classes.
        classifier: The classifier of some training with a direction as :meth:`GaussianPair.best_linear` has it.
        radius: l_inf radius of its training, (...), at least 0.

    Returns:
        The factor; NaN where L is 0 (every factor gives the same classifier) or everything gets one answer.
    """
    margin = classifier.reach - np.asarray(radius, dtype=np.float64) * classifier.length
    interior = np.isfinite(classifier.offset) & (np.abs(pair.log_odds) > _NO_ODDS)
    offset = np.where(interior, classifier.offset, np.nan)
    plus = (offset + margin) / np.asarray(pair.sigma_plus)
    minus = (offset - margin) / np.asarray(pair.sigma_minus)
    factor: Floats = (plus - minus) * (plus + minus) / np.where(interior, 2 * pair.log_odds, np.nan)
    return factor


def balanced_offset(pair: GaussianPair, radius: Numbers = 0.0) -> Floats:
    """The offset at which both classes err alike under a radius, (...): the limit of ever stronger mixup.

    It is ``a (sigma_plus - sigma_minus) / (sigma_plus + sigma_minus)``, a the margin that the radius leaves.
    """
    direction = pair.best_linear(radius)
    margin = direction.reach - np.asarray(radius, dtype=np.float64) * direction.length
    plus, minus = np.asarray(pair.sigma_plus), np.asarray(pair.sigma_minus)
    return np.asarray(margin * (plus - minus) / (plus + minus))
