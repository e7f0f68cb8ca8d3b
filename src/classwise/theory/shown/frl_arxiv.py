"""The model of FRL's first version as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from classwise.configuration import config
from classwise.registry import register
from classwise.theory import frl_arxiv
from classwise.theory.frl_icml import flip_radius, increase
from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.shown.base import Row, TheoryModel
from classwise.theory.shown.class_rows import as_numbers, class_rows
from classwise.theory.shown.remarks import TOO_SMALL, proven_sign

_UNSTATED = "the paper states no number"


@register("theory", "frl-v1")
@config
class FRLv1(TheoryModel):
    """Robust and non-robust features: robust training leaves out the many weak ones and widens the gap between the classes.

    m robust features of mean gamma and d non-robust ones of mean eta, with signs swapped in class -1; standard deviations
    ``ratio * sigma`` and ``sigma``, equal priors; the best linear classifier without attack (natural) and under l_inf
    perturbations of size ``radius`` (robust).
    """

    paper: ClassVar[str] = "Xu et al., To be Robust or to be Fair (FRL), arXiv v1 2020, section 3 and appendix B"
    assumed: ClassVar[Mapping[str, str]] = {
        "m": f"{_UNSTATED}, only m << d",
        "gamma": f"{_UNSTATED}, only eta < radius < gamma",
        "d": f"{_UNSTATED}, only m << d",
        "eta": f"{_UNSTATED}, only eta < radius < gamma",
        "ratio": f"{_UNSTATED}, only K > 1",
        "sigma": f"{_UNSTATED}; with 1.5 the errors are neither tiny nor near 1/2",
        "radius": f"{_UNSTATED}, only eta < radius < gamma",
        "test_radius": f"{_UNSTATED}; another one than radius, so that errors in the shifts show",
    }

    m: int = 4
    """Number of robust features, at least 1."""
    gamma: float = 1.0
    """Mean of each robust feature in class +1, above ``radius``."""
    d: int = 100
    """Number of non-robust features, at least 0."""
    eta: float = 0.1
    """Mean of each non-robust feature in class +1, at least 0 and at most ``radius``."""
    ratio: float = 2.0
    """K, standard deviation of class +1 over that of class -1, above 1."""
    sigma: float = 1.5
    """Standard deviation of class -1, above 0."""
    radius: float = 0.4
    """l_inf radius of robust training (eps), above 0, at least ``eta`` and below ``gamma``."""
    test_radius: float = 0.3
    """l_inf radius of the attack at test time (eps_0), at least 0."""

    def check(self) -> None:
        """Refuse parameters for which the model says nothing."""
        if self.m < 1 or self.d < 0:
            raise ValueError(f"m {self.m} and d {self.d} count features: give m at least 1 and d at least 0")
        if not 1 < self.ratio < math.inf:
            raise ValueError(
                f"ratio {self.ratio:g} is out of range: above 1, since class +1 is the one with more spread"
            )
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma {self.sigma:g} is out of range: above 0, it is a standard deviation")
        if not self.eta >= 0:
            raise ValueError(
                f"eta {self.eta:g} is out of range: at least 0, since its sign swaps with the class already"
            )
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma {self.gamma:g} is out of range: above 0 and finite, it is a mean")
        if not (0 < self.radius < self.gamma and self.eta <= self.radius):
            raise ValueError(
                f"radius {self.radius:g} is out of range: above 0, at least eta {self.eta:g} and below gamma {self.gamma:g}, "
                "since robust training keeps the robust features and leaves out the others"
            )
        if not 0 <= self.test_radius < math.inf:
            raise ValueError(
                f"test_radius {self.test_radius:g} is out of range: at least 0, it is the size of an attack"
            )

    def rows(self, samples: int, seed: int) -> list[Row]:
        """See :class:`~classwise.theory.shown.base.TheoryModel`."""
        return [*self._natural(samples, seed), *self._robust(samples, seed), *self._lemmas(), *self._gap()]

    def _natural(self, samples: int, seed: int) -> list[Row]:
        """Theorem 1."""
        classes, shape = self._classes(), self._shape()
        natural = classes.best_linear()
        exact, attacked = classes.errors(natural), classes.errors(natural, self.test_radius)
        eq3, eq5, eq31 = (
            float(each(*shape)) for each in (frl_arxiv.printed_eq3, frl_arxiv.printed_eq5, frl_arxiv.printed_eq31)
        )
        return [
            *class_rows(
                "natural training, error",
                classes,
                natural,
                0,
                samples,
                seed,
                (float(exact.plus), eq3),
                ("eq. 4: right", "eq. 3 has K inside the root"),
            ),
            Row(
                "natural training, error, class -1 (proof)",
                float(exact.minus),
                eq31,
                remark="eq. 31 lacks sigma^2 in the root",
            ),
            *class_rows(
                "natural training, robust error",
                classes,
                natural,
                self.test_radius,
                samples,
                seed,
                (float(attacked.plus), eq5),
                ("eq. 6: right", "eq. 5 lacks the factor eps_0 / sigma"),
            ),
        ]

    def _robust(self, samples: int, seed: int) -> list[Row]:
        """Theorem 2."""
        classes, kept = self._classes(), (self.m, self.gamma, self.ratio, self.sigma, self.radius)
        robust = classes.best_linear(self.radius)
        error, attacked = "robust training, error", "robust training, robust error"
        eq9, eq8 = float(frl_arxiv.printed_eq9(*kept)), float(frl_arxiv.printed_eq8(*kept))
        eq11, eq10 = (float(each(*kept, self.test_radius)) for each in (frl_arxiv.printed_eq9, frl_arxiv.printed_eq8))
        at_training = float(classes.errors(robust, self.radius).minus)
        plain = as_numbers(classes.errors(robust))
        boundary = classes.boundary_errors(robust, self.test_radius)
        printed_boundary = classes.boundary_errors(robust, self.test_radius, as_printed=True)
        return [
            *class_rows(
                error,
                classes,
                robust,
                0,
                samples,
                seed,
                (eq9, eq8),
                ("eq. 9 lacks the shift by eps", "eq. 8 has K inside the root and lacks the shift by eps"),
            ),
            Row(
                f"{error}, class -1 (proof)", plain[1], at_training, remark="eq. 39 is the robust error at eps_0 = eps"
            ),
            Row(
                f"{error}, class +1 (proof)",
                plain[0],
                float(frl_arxiv.printed_eq40(*kept)),
                remark="eq. 40 has K before the wrong term and lacks the shift",
            ),
            *class_rows(
                attacked,
                classes,
                robust,
                self.test_radius,
                samples,
                seed,
                (eq11, eq10),
                ("eq. 11 with the score of eq. 9", "eq. 10 with the score of eq. 8"),
            ),
            *(
                Row(
                    f"robust training, boundary error, class {label}",
                    float(right),
                    float(print_),
                    remark='eq. 16 lacks "and answered right"',
                )
                for label, right, print_ in zip(("+1", "-1"), boundary, printed_boundary, strict=True)
            ),
        ]

    def _lemmas(self) -> list[Row]:
        """The intercepts of lemmas 1 and 2."""
        classes = self._classes()
        lengths = (
            math.sqrt(self.m * self.gamma**2 + self.d * self.eta**2),
            math.sqrt(self.m) * (self.gamma - self.radius),
        )
        found = [
            (
                float(frl_arxiv.intercept_per_weight(classes, classes.best_linear(size))),
                float(frl_arxiv.printed_intercept_per_weight(length, self.ratio, self.sigma)),
            )
            for size, length in zip((0.0, self.radius), lengths, strict=True)
        ]
        return [
            Row("natural training, b / w_1", *found[0], remark="lemma 1: b : w_1 is w_0 : gamma, not w_0 : 1"),
            Row("robust training, b / w_1", *found[1], remark="lemma 2: b : w_1 is w_0 : (gamma - eps), not w_0 : 1"),
        ]

    def _gap(self) -> list[Row]:
        """Corollary 1 and Omega."""
        classes = self._classes()
        change = increase(classes, self.radius)
        flips = [float(flip_radius(classes, classes.best_linear(size))) for size in (0.0, self.radius)]
        limit = frl_arxiv.omega_limit(self.m, self.gamma, self.d, self.eta, self.sigma, self.radius)
        bound = frl_arxiv.printed_eq12(self.m, self.gamma, self.d, self.ratio, self.sigma)
        omega = float(frl_arxiv.omega(classes, self.radius))
        held = ", above it here" if omega >= bound else ": wrong here"
        held = held if math.isfinite(omega) else f"; the gaps are {TOO_SMALL}"
        return [
            Row("increase of the error, class +1", float(change.plus)),
            Row("increase of the error, class -1", float(change.minus)),
            Row(
                "growth of the gap between the errors",
                float(change.gap),
                remark=proven_sign("corollary 1: above 0", float(change.gap)),
            ),
            Row("Omega", omega, float(bound), remark=f"eq. 12, a lower bound with its constants taken as 1{held}"),
            Row("Omega, limit for K to 1", float(limit), 0.0, remark="the bound of eq. 12 falls to 0"),
            Row(
                "ln Omega per non-robust feature, many of them",
                float(frl_arxiv.omega_rate(self.eta, self.ratio, self.sigma)),
                0.0,
                remark="eq. 12: the root of d / m, whose logarithm stops growing",
            ),
            Row("natural training, test radius of equal robust errors", flips[0], remark="beyond it class -1 is worse"),
            Row("robust training, test radius of equal robust errors", flips[1], remark="beyond it class -1 is worse"),
        ]

    def _shape(self) -> tuple[int, float, int, float, float, float]:
        return self.m, self.gamma, self.d, self.eta, self.ratio, self.sigma

    def _classes(self) -> GaussianPair:
        return frl_arxiv.pair(*self._shape())
