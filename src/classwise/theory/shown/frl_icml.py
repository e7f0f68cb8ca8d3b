"""The model of FRL's published version as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from classwise.configuration import config
from classwise.registry import register
from classwise.theory import frl_icml
from classwise.theory.frl_terms import expressiveness, printed_errors
from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.shown.base import Row, TheoryModel
from classwise.theory.shown.class_rows import as_numbers, class_rows
from classwise.theory.shown.remarks import TOO_SMALL, proven_sign


@register("theory", "frl-icml")
@config
class FRLICML(TheoryModel):
    """Two Gaussian classes of unequal spread: robust training helps the narrow one and hurts the wide one.

    d features of mean eta in class +1 and -eta in class -1, standard deviations ``ratio * sigma`` and ``sigma``, equal priors;
    the best linear classifier without attack (natural) and under l_inf perturbations of size ``radius`` (robust). Last come m
    weak features of mean gamma, which robust training leaves out (appendix A.3).
    """

    paper: ClassVar[str] = "Xu et al., To be Robust or to be Fair (FRL), ICML 2021, section 3 and appendix A.2-A.3"
    assumed: ClassVar[Mapping[str, str]] = {
        "test_radius": "figure 2 states one radius, for training; the test uses the same",
        "m": "appendix A.3 asks for many more weak features than strong ones",
        "gamma": "appendix A.3 asks for a mean below the radius",
    }

    d: int = 2
    """Number of features, at least 1; the default and the next four are those of the paper's figure 2."""
    eta: float = 2.0
    """Mean of each feature in class +1, above ``radius``."""
    ratio: float = 2**0.5
    """K, standard deviation of class +1 over that of class -1, above 1."""
    sigma: float = 1.0
    """Standard deviation of class -1, above 0."""
    radius: float = 0.5
    """l_inf radius of robust training (eps), above 0 and below ``eta``."""
    test_radius: float = 0.5
    """l_inf radius of the attack at test time (eps_0), at least 0."""
    m: int = 100
    """Number of weak features in the last part, at least 0 (0: leave that part out)."""
    gamma: float = 0.1
    """Mean of each weak feature in class +1, at least 0 and at most ``radius``."""

    def check(self) -> None:
        """Refuse parameters for which the model says nothing."""
        if self.d < 1 or self.m < 0:
            raise ValueError(f"d {self.d} and m {self.m} count features: give d at least 1 and m at least 0")
        if not 1 < self.ratio < math.inf:
            raise ValueError(
                f"ratio {self.ratio:g} is out of range: above 1, since class +1 is the one with more spread"
            )
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma {self.sigma:g} is out of range: above 0, it is a standard deviation")
        if not 0 < self.eta < math.inf:
            raise ValueError(f"eta {self.eta:g} is out of range: above 0 and finite, it is a mean")
        if not 0 < self.radius < self.eta:
            raise ValueError(
                f"radius {self.radius:g} is out of range: above 0 and below eta {self.eta:g}, or robust training is natural "
                "training or has no feature left"
            )
        if not 0 <= self.test_radius < math.inf:
            raise ValueError(
                f"test_radius {self.test_radius:g} is out of range: at least 0, it is the size of an attack"
            )
        if self.m and not 0 <= self.gamma <= self.radius:
            raise ValueError(
                f"gamma {self.gamma:g} is out of range: from 0 to radius {self.radius:g}, or the features are not weak (m 0 "
                "leaves them out)"
            )

    def rows(self, samples: int, seed: int) -> list[Row]:
        """See :class:`~classwise.theory.shown.base.TheoryModel`."""
        weak = self._with_weak_features(samples, seed) if self.m else []
        return [*self._errors(samples, seed), *self._consequences(), *weak]

    def _errors(self, samples: int, seed: int) -> list[Row]:
        """Theorems 1 and 2, the intercepts and the errors under attack."""
        classes = self._classes()
        natural, robust = classes.best_linear(), classes.best_linear(self.radius)
        shape = (self.d, self.eta, self.ratio, self.sigma)
        theorem_1 = as_numbers(frl_icml.printed_theorem_1(*shape))
        theorem_2 = as_numbers(frl_icml.printed_theorem_2(*shape, self.radius))
        attacked = as_numbers(frl_icml.printed_theorem_2(*shape, self.radius, self.test_radius))
        same = self.test_radius == self.radius
        printed_boundary = as_numbers(classes.boundary_errors(robust, self.test_radius, as_printed=True))
        b_nat, b_rob = (float(frl_icml.intercept(self.d, mean, self.ratio, self.sigma)) for mean in self._means())
        p_nat, p_rob = (
            float(frl_icml.printed_intercept(self.d, mean, self.ratio, self.sigma)) for mean in self._means()
        )
        return [
            *class_rows(
                "natural training, error", classes, natural, 0, samples, seed, theorem_1, _both("eq. 3: right")
            ),
            *class_rows("robust training, error", classes, robust, 0, samples, seed, theorem_2, _both("eq. 4: right")),
            *class_rows("natural training, robust error", classes, natural, self.test_radius, samples, seed),
            *class_rows(
                "robust training, robust error",
                classes,
                robust,
                self.test_radius,
                samples,
                seed,
                attacked if same else (None, None),
                _both("end of appendix A.2.2: right" if same else ""),
            ),
            *(
                Row(
                    f"robust training, boundary error, class {label}",
                    float(right),
                    print_,
                    remark='eq. 7 lacks "and answered right": points on the wrong side near the boundary count twice',
                )
                for label, right, print_ in zip(
                    ("+1", "-1"), classes.boundary_errors(robust, self.test_radius), printed_boundary, strict=True
                )
            ),
            Row("natural training, intercept b for w = 1", b_nat, p_nat, remark="eq. 5 and 15: right"),
            Row(
                "robust training, intercept b for w = 1",
                b_rob,
                p_rob,
                remark="eq. 18: right; section 3.2 adds 0 < b" + (": so here" if b_rob > 0 else ": wrong here"),
            ),
        ]

    def _consequences(self) -> list[Row]:
        """Corollary 1, what it costs, and where the order of the classes turns."""
        classes = self._classes()
        natural, robust = classes.best_linear(), classes.best_linear(self.radius)
        plus, minus = as_numbers(frl_icml.increase(classes, self.radius))
        before, after = (float(classes.errors(each).average()) for each in (natural, robust))
        price = after / before if before > 0 else math.nan
        flips = [float(frl_icml.flip_radius(classes, each)) for each in (natural, robust)]
        return [
            Row("increase of the error, class +1", plus, remark=proven_sign("corollary 1: above 0", plus)),
            Row(
                "increase of the error, class -1",
                minus,
                remark=proven_sign("corollary 1: below 0", minus, above=False),
            ),
            Row(
                "average error, robust over natural training",
                price,
                remark="the price; the paper names none" + (f"; {TOO_SMALL}" if math.isnan(price) else ""),
            ),
            Row("natural training, test radius of equal robust errors", flips[0], remark="beyond it class -1 is worse"),
            Row("robust training, test radius of equal robust errors", flips[1], remark="beyond it class -1 is worse"),
        ]

    def _with_weak_features(self, samples: int, seed: int) -> list[Row]:
        """Theorem 3."""
        shape = (self.d, self.eta, self.m, self.gamma, self.ratio, self.sigma)
        classes = frl_icml.pair_with_weak(*shape)
        length = math.sqrt(self.m * self.gamma**2 + self.d * self.eta**2)
        natural = as_numbers(printed_errors(expressiveness(length, self.ratio, self.sigma), self.ratio))
        robust = as_numbers(frl_icml.printed_theorem_2(self.d, self.eta, self.ratio, self.sigma, self.radius))
        plus, minus = as_numbers(frl_icml.increase(classes, self.radius))
        chain = frl_icml.printed_theorem_3(*shape, self.radius)
        threshold = float(frl_icml.both_rise_threshold(self.d, self.eta, self.ratio, self.sigma, self.radius))
        rises = ", so here" if minus > 0 else ": wrong here, class -1 gains" if minus < 0 else f"; {TOO_SMALL}"
        holds = (
            ", which holds here"
            if chain.left > chain.right
            else ": wrong here"
            if chain.right > 0
            else f"; {TOO_SMALL}"
        )
        right = _both("proof of theorem 3: right")
        name = "with weak features, "
        nat, rob = classes.best_linear(), classes.best_linear(self.radius)
        return [
            *class_rows(name + "natural training, error", classes, nat, 0, samples, seed, natural, right),
            *class_rows(name + "robust training, error", classes, rob, 0, samples, seed, robust, right),
            Row(
                name + "increase of the error, class +1",
                plus,
                remark=proven_sign("appendix A.3: above 0", plus),
            ),
            Row(
                name + "increase of the error, class -1",
                minus,
                remark="appendix A.3: above 0" + rises,
            ),
            Row(
                name + "growth of the gap between the errors",
                float(chain.left),
                float(chain.right),
                remark=proven_sign("theorem 3: above 0", float(chain.left))
                + "; its proof claims more than the printed number"
                + holds,
            ),
            Row(
                "m gamma^2 above which both errors rise",
                threshold,
                remark=f"m gamma^2 is {self.m * self.gamma**2:.4g} here; appendix A.3 names no condition",
            ),
        ]

    def _classes(self) -> GaussianPair:
        return frl_icml.pair(self.d, self.eta, self.ratio, self.sigma)

    def _means(self) -> tuple[float, float]:
        return self.eta, self.eta - self.radius


def _both(remark: str) -> tuple[str, str]:
    return remark, remark
