"""Same-class mixup with numbers: what the paper prints, what is right, what draws give."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from classwise.configuration import config
from classwise.registry import register
from classwise.theory.gaussian_mixture import INTERIOR, ClassErrors, Linear
from classwise.theory.mixup import (
    DomainPair,
    MixupErrors,
    effective_factor,
    equivalent_prior,
    errors_of_mixup,
    variance_factor,
)
from classwise.theory.mixup_printed import printed_chain_threshold, printed_errors, printed_gap, printed_threshold
from classwise.theory.mixup_random import best_linear_random, random_errors, random_factors
from classwise.theory.shown.base import Row, TheoryModel
from classwise.theory.shown.remarks import course
from classwise.theory.simulate import Simulated, simulate_pair

NOT_STATED = "the paper states no parameters"


@register("theory", "mixup", "domain-mixup")
@config
class DomainMixup(TheoryModel):
    """The best linear classifier between two Gaussian classes, trained on points mixed with others of their class.

    Mixup takes the log-odds that tilt the classifier times ``g = lambda^2 + (1 - lambda)^2``: it trains as with another prior.
    On the data themselves the gap between the class errors shrinks and the average error grows; on mixed data, of which the
    paper's theorems speak, the errors are smaller since those have less spread. Correct for any priors and variances.
    """

    paper: ClassVar[str] = "Zhong and Tandon, Learning fair robustness via domain mixup, section III"
    assumed: ClassVar[dict[str, str]] = {
        "d": f"{NOT_STATED}: large enough for the factors d that it drops to show",
        "mu_plus": f"{NOT_STATED}: errors of some 10 % to 40 %",
        "mu_minus": f"{NOT_STATED}: as mu_plus",
        "sigma_plus": f"{NOT_STATED}: equal variances, of which its remarks speak",
        "sigma_minus": f"{NOT_STATED}: as sigma_plus",
        "prior": f"{NOT_STATED}: above 1/2, for with equal variances and priors there is no gap to shrink",
        "lam": f"{NOT_STATED}: the strongest fixed choice",
        "radius": f"{NOT_STATED}: a quarter of the half distance of the means",
        "beta": "the paper has a fixed share; the uniform law is a common choice for mixup",
    }

    d: int = 5
    """Number of features, at least 1."""
    mu_plus: float = 0.4
    """Mean of every feature in class +1."""
    mu_minus: float = 0.4
    """Minus the mean of every feature in class -1; with mu_plus it adds to something above 0."""
    sigma_plus: float = 1.0
    """Standard deviation of every feature in class +1, above 0."""
    sigma_minus: float = 1.0
    """Standard deviation of every feature in class -1, above 0."""
    prior: float = 0.7
    """Share of class +1 (the paper's alpha), strictly between 0 and 1."""
    lam: float = 0.5
    """Share of a point itself in a mixed one, in [0, 1]; 1 is no mixup."""
    radius: float = 0.1
    """l_inf radius of adversarial training and of the attack, at least 0; 0 leaves the adversarial rows out."""
    beta: float = 1.0
    """Parameter a of a random share, drawn from Beta(a, a), in [0.001, 1000]; 1 is the uniform law."""

    def check(self) -> None:
        """Refuse parameters for which there are no such classes, shares or perturbations."""
        _ = self.classes
        variance_factor(self.lam)
        if not 0 <= self.radius < np.inf:
            raise ValueError(f"radius {self.radius} must be finite and at least 0: it is the size of a perturbation")
        try:
            random_factors(self.beta)
        except ValueError as error:
            raise ValueError(str(error).replace("alpha", "beta", 1)) from error

    @property
    def classes(self) -> DomainPair:
        """The two classes."""
        return DomainPair(
            d=self.d,
            mu_plus=self.mu_plus,
            mu_minus=self.mu_minus,
            sigma_plus=self.sigma_plus,
            sigma_minus=self.sigma_minus,
            prior=self.prior,
        )

    def rows(self, samples: int, seed: int) -> list[Row]:
        """See :class:`TheoryModel`."""
        classes, factor = self.classes, float(variance_factor(self.lam))
        rows = [
            Row("factor g of the variances", factor, factor, remark="after eq. 11"),
            Row(
                "prior at which plain training does what mixup does",
                float(equivalent_prior(classes.pair, factor)),
                remark="not in the paper: odds (alpha / (1 - alpha))^g (sigma_+ / sigma_-)^(1 - g)",
            ),
        ]
        for kind, radius in (("natural", 0.0), ("adversarial", self.radius)):
            if kind == "natural" or radius > 0:
                rows += self._training(kind, radius, samples, seed)
        if self.radius > 0:
            natural = errors_of_mixup(classes.pair, factor, self.radius, 0.0)
            found = course(_size(natural.plain), _size(natural.original))
            remark = f"the abstract says that this gap shrinks too; here it {found}"
            rows += [
                Row("adversarial training: natural gap, plain", _size(natural.plain), remark=remark),
                Row("adversarial training: natural gap, mixup, original data", _size(natural.original), remark=remark),
            ]
        return rows

    def _training(self, kind: str, radius: float, samples: int, seed: int) -> list[Row]:
        """Rows of training and testing at one radius."""
        classes, factor = self.classes, float(variance_factor(self.lam))
        pair, alike, adversarial = classes.pair, self.sigma_plus == self.sigma_minus, kind == "adversarial"
        plain, mixed = pair.best_linear(radius), pair.best_linear(radius, factor)
        random = best_linear_random(pair, self.beta, radius)
        errors = errors_of_mixup(pair, factor, radius)
        printed = float(printed_threshold(classes, factor, radius))
        theorem = "theorem 4, eq. 19" if adversarial else "theorem 3, eq. 28"
        outside = self._outside(mixed, radius)
        if outside:
            theorem += f"; it does not hold: {outside}"
        elif not alike and self.d > 1:
            theorem += "; a factor d missing before sigma_+ sigma_- S, and d^2 in the root"
            theorem += ", which is that of a negative number here" if np.isnan(printed) else ""

        def pairwise(
            what: str,
            right: ClassErrors,
            printed: ClassErrors | None,
            by: Linear,
            remark: str,
            lam: float | None = None,
        ) -> list[Row]:
            drawn: tuple[Simulated | None, Simulated | None] = (None, None)
            if samples:
                drawn = simulate_pair(pair, by, radius, samples, seed, lam)
            return [
                Row(
                    f"{kind} error, {what}, class {name}",
                    float(getattr(right, side)),
                    None if printed is None else float(getattr(printed, side)),
                    simulated,
                    remark,
                )
                for name, side, simulated in zip(("+1", "-1"), ("plus", "minus"), drawn, strict=True)
            ]

        proposition = f"proposition {2 if adversarial else 1}" if alike else "propositions are for equal variances"
        outside = self._outside(plain, radius)
        if alike and outside:
            proposition += f"; it does not hold: {outside}"
        effective = float(effective_factor(pair, random, radius))
        no_factor = (
            "one answer for every point is best" if random.status != INTERIOR else "every g gives this classifier"
        )
        return [
            Row(f"{kind} offset t = b / w, plain", float(classes.threshold(plain))),
            Row(
                f"{kind} offset t = b / w, mixup",
                float(classes.threshold(mixed)),
                printed,
                remark=theorem,
            ),
            *pairwise(
                "plain", errors.plain, printed_errors(classes, 1.0, radius) if alike else None, plain, proposition
            ),
            *pairwise(
                "mixup, mixed data", errors.mixed, printed_errors(classes, factor, radius), mixed, theorem, self.lam
            ),
            *pairwise("mixup, original data", errors.original, None, mixed, "not in the paper"),
            *self._gaps(kind, radius, errors, outside),
            Row(
                f"{kind} effective g of a random share",
                effective,
                remark="not in the paper" + (f"; none: {no_factor}" if np.isnan(effective) else ""),
            ),
            *pairwise("random share, original data", pair.errors(random, radius), None, random, "not in the paper"),
            Row(
                f"{kind} gap, random share, mixed data",
                _size(random_errors(pair, random, self.beta, radius)),
                remark="not in the paper",
            ),
        ]

    def _outside(self, classifier: Linear, radius: float) -> str:
        """Why the formulas of the paper do not speak of a best classifier; nothing where they do."""
        constant, no_margin = classifier.status != INTERIOR, self.classes.distance(radius) <= 0
        reasons = ["the radius leaves no margin"] if no_margin else []
        if constant:
            reasons.append("one answer for every point is best")
        elif no_margin and self.d > 1:
            reasons.append("the best classifier looks at one feature alone")
        return ", and ".join(reasons)

    def _gaps(self, kind: str, radius: float, errors: MixupErrors, outside: str) -> list[Row]:
        """Rows of the remarks: differences, averages, and where a chain of inequalities holds."""
        classes, factor, adversarial = self.classes, float(variance_factor(self.lam)), kind == "adversarial"
        change = course(_size(errors.plain), _size(errors.original))
        rows = []
        for what, found, g, equation in (
            ("plain", errors.plain, 1.0, 22 if adversarial else 16),
            ("mixup, mixed data", errors.mixed, factor, 23 if adversarial else 17),
        ):
            printed = float(printed_gap(classes, g, radius))
            told = not np.isnan(printed)
            remark = (
                f"eq. {equation}: {outside or 'the term that both errors share is dropped'}"
                if told
                else "remarks: equal variances"
            )
            rows.append(Row(f"{kind} gap, {what}", _size(found), printed if told else None, remark=remark))
        rows += [
            Row(
                f"{kind} gap, mixup, original data",
                _size(errors.original),
                remark=f"not in the paper; {'shrinks too' if change == 'shrinks' else change}",
            ),
            Row(f"{kind} average error, plain", float(errors.plain.average(self.prior))),
            Row(
                f"{kind} average error, mixup, original data",
                float(errors.original.average(self.prior)),
                remark="not in the paper; never below that of plain training",
            ),
        ]
        right = float(classes.chain_threshold(radius))
        if not np.isnan(right):
            rows.append(
                Row(
                    f"{kind} least g for the chain of errors on mixed data",
                    right,
                    right if adversarial else float(printed_chain_threshold(classes)),
                    remark=self._chain(right, errors, adversarial),
                )
            )
        return rows

    def _chain(self, least: float, errors: MixupErrors, adversarial: bool) -> str:
        """What is to be said of the least g for the chain of errors on mixed data."""
        number = "remark 4, B: right" if adversarial else "remark 2, A: has d^2 where d^4 is right"
        if not adversarial and self.d == 1:
            number = "remark 2, A: right for one feature"
        swapped = ", with the classes swapped as the prior is below 1/2" if self.prior < 0.5 else ""
        lower = errors.mixed.plus < errors.plain.plus and errors.mixed.minus < errors.plain.minus
        holds = "the chain holds here" if float(variance_factor(self.lam)) >= least else "the chain does not hold here"
        found = "above 1 it holds for no mixture" if least > 1 else holds
        return f"{number}{swapped}; {found}" + (", and both mixed errors are below the plain ones" if lower else "")


def _size(errors: ClassErrors) -> float:
    return float(np.abs(errors.gap))
