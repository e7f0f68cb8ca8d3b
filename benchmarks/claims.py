"""Claims of the papers as data: what is said where, which test decides it, and the verdict that follows from what was measured.

A verdict is never written down: it is computed from cells, or from a model of the theory. A test compares one figure with a
bound, and its interval for other starts and other images has to lie on one side of the bound. A claim holds where all of its
tests do, does not hold where one of them is contradicted, and is not decided otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from claims_measures import Measure
from effects_cells import Cell, Folder
from effects_figures import Figure, Ints


class Verdict(Enum):
    """What can be said of a claim or of one of its tests."""

    HOLDS = "holds here"
    FAILS = "does not hold here"
    OPEN = "not decided"


@dataclass(frozen=True)
class Place:
    """The cells of one folder: one data set, one way of training.

    Attributes:
        title: As on the page.
        cells: Finished cells by arm and start.
        labels: Class of every test image, (n,).
        starts: Number of starts that are planned.
    """

    title: str
    cells: dict[tuple[str, int], Cell]
    labels: Ints
    starts: int

    def seeds(self, *arms: str) -> list[int]:
        """Starts from which all of some arms are finished."""
        return sorted(set.intersection(*({seed for arm, seed in self.cells if arm == each} for each in arms)))


@dataclass(frozen=True)
class Finding:
    """What a test found in one place.

    Attributes:
        verdict: Of this test alone.
        figure: What was measured; None where nothing was.
        n: Number of starts.
        planned: Number of starts planned.
    """

    verdict: Verdict
    figure: Figure | None
    n: int
    planned: int

    @property
    def finished(self) -> bool:
        """Whether all planned starts are in it."""
        return self.n >= self.planned


@dataclass(frozen=True)
class Test:
    """One comparison: a figure of an arm, or its difference from another arm's, against a bound.

    Attributes:
        measure: What is compared.
        arm: Name of the cells.
        minus: Cells that are subtracted, start by start; empty: none.
        side: On which side of the bound the claim wants the figure.
        bound: In the unit of the measure.
        premise: Whether the claim says nothing unless this holds, so that its failure decides nothing.
    """

    __test__ = False  # no test of pytest

    measure: Measure
    arm: str
    minus: str = ""
    side: Literal["above", "below"] = "above"
    bound: float = 0.0
    premise: bool = False

    @property
    def arms(self) -> tuple[str, ...]:
        """Cells that it needs."""
        return self._of(minus=False) + self._of(minus=True)

    @property
    def scale(self) -> float:
        """By what a fraction is multiplied to be in the unit of the bound."""
        return self.measure.scale

    def _of(self, minus: bool) -> tuple[str, ...]:
        """Cells of the method, or of what is subtracted."""
        name = self.minus if minus else self.arm
        return (name, *self.measure.also(minus)) if name else ()

    def found(self, place: Place) -> Finding:
        """What the cells of a place say."""
        seeds = place.seeds(*self.arms)
        if not seeds:
            return Finding(Verdict.OPEN, None, 0, place.starts)
        after, before = (
            [place.cells[arm, seed] for arm in self._of(minus) for seed in seeds] for minus in (False, True)
        )
        figure = self.measure.figure(after, before or None, place.labels)
        verdict = self._verdict(figure) if len(seeds) >= place.starts else Verdict.OPEN
        return Finding(verdict, figure, len(seeds), place.starts)

    def _verdict(self, figure: Figure) -> Verdict:
        if figure.both is None:
            return Verdict.OPEN
        low, high = (self.scale * each for each in figure.both)
        is_above, is_below = low > self.bound, high < self.bound
        if not (is_above or is_below):
            return Verdict.OPEN
        return Verdict.HOLDS if is_above == (self.side == "above") else Verdict.FAILS


@dataclass(frozen=True)
class Computed:
    """What was computed for a claim that needs no run.

    Attributes:
        verdict: By the rule that the claim states.
        told: What was found, in a sentence.
    """

    verdict: Verdict
    told: str


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        key: Short name.
        paper: Which paper, by its name in :mod:`classwise.published`.
        where: Section, table or figure.
        says: The claim, in our words.
        tests: Comparisons that decide it; empty where it is computed.
        rule: For a claim that is computed or that nothing was measured for: what decides it, in words.
        compute: What decides a claim without runs.
        remark: What else to know; mostly empty.
    """

    key: str
    paper: str
    where: str
    says: str
    tests: tuple[Test, ...] = ()
    rule: str = ""
    compute: Callable[[], Computed] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Answer:
    """A claim with what was found.

    Attributes:
        claim: The claim.
        verdict: Over all places.
        places: Verdict of each place that has cells for it, and what each test found there.
        told: What was computed, in a sentence; empty for a claim that was measured.
    """

    claim: Claim
    verdict: Verdict
    places: dict[str, tuple[Verdict, tuple[Finding, ...]]]
    told: str = ""

    @property
    def decided_in(self) -> tuple[str, ...]:
        """Titles of the places that decide it; others that have cells for it are open."""
        return tuple(title for title, (each, _) in self.places.items() if each is self.verdict is not Verdict.OPEN)

    @property
    def because(self) -> str:
        """Why nothing is decided; empty where something is."""
        if self.verdict is not Verdict.OPEN or self.told:
            return ""
        if not self.places:
            return "not measured"
        verdicts = {verdict for verdict, _ in self.places.values()}
        if {Verdict.HOLDS, Verdict.FAILS} <= verdicts:
            return "places disagree"
        if all(any(not each.finished for each in found) for _, found in self.places.values()):
            return "unfinished"
        premises = [index for index, test in enumerate(self.claim.tests) if test.premise]
        if any(found[index].verdict is not Verdict.HOLDS for _, found in self.places.values() for index in premises):
            return "premise not shown"
        return "intervals hold both"


def answer(claim: Claim, places: Iterable[Place]) -> Answer:
    """Apply the tests of a claim to all places; one that is open has no vote where another decides."""
    if claim.compute is not None:
        computed = claim.compute()
        return Answer(claim, computed.verdict, {}, computed.told)
    found = {place.title: tuple(test.found(place) for test in claim.tests) for place in places}
    there = {title: (together(claim.tests, each), each) for title, each in found.items() if any(one.n for one in each)}
    decided = {verdict for verdict, _ in there.values()} - {Verdict.OPEN}
    return Answer(claim, decided.pop() if len(decided) == 1 else Verdict.OPEN, there)


def together(tests: Sequence[Test], findings: Sequence[Finding]) -> Verdict:
    """What the tests of one claim say in one place."""
    if any(test.premise and each.verdict is not Verdict.HOLDS for test, each in zip(tests, findings, strict=True)):
        return Verdict.OPEN
    verdicts = {each.verdict for each in findings}
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS
    return Verdict.HOLDS if verdicts == {Verdict.HOLDS} else Verdict.OPEN


TITLES = {"effects/digits": "digits", "effects/cifar10": "CIFAR-10", "claims/digits": "digits, from random weights"}


def places(results: Path) -> list[Place]:
    """All folders of cells below the folder of results, those of the tables on effects and those of the claims."""
    found = []
    for kind in ("effects", "claims"):
        for path in sorted(each.parent for each in (results / kind).glob("*/plan.json")):
            folder = Folder(path)
            plan = folder.plan()
            assert plan is not None, "the file is there"
            title = TITLES.get(f"{kind}/{path.name}", path.name if kind == "effects" else f"{path.name} ({kind})")
            found.append(Place(title, folder.read(), Folder.labels(plan), plan["starts"]))
    return found
