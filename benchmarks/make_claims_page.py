"""Write docs/claims.md: the register of the papers' claims with what was measured, from the stored cells and the theory.

Every figure and every verdict on the page is computed; the page can be made at any time, and shows what is missing as missing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import tyro

from claims import Answer, Finding, Place, Test, Verdict, answer, places
from claims_register import register
from claims_runs import RUNS
from effects_methods import BASES, METHODS
from make_effects_page import flow
from make_speed_page import table

PAPERS = {
    "frl-v1": "FRL, first version on arXiv",
    "frl-icml": "FRL, ICML 2021",
    "mixup": "Domain mixup",
    "cfa": "CFA, CVPR 2023",
    "faal": "FAAL, CVPR 2024",
}
SHORT = {"frl-v1": "FRL v1", "frl-icml": "FRL", "mixup": "mixup", "cfa": "CFA", "faal": "FAAL"}
CHECKPOINTS = {
    "": "",
    "last": " (last epoch)",
    "averaged": " (averaged weights)",
    "final": " (averaged weights, last epoch)",
}


def main(results: Path = Path("benchmarks/results"), out: Path = Path("docs/claims.md")) -> None:
    """Write the page.

    Args:
        results: Folder of all results; cells are read from its ``effects`` and ``claims``.
        out: The page.
    """
    out.write_text(page(results), encoding="utf-8")


def page(results: Path) -> str:
    """The page as Markdown."""
    found = places(results)
    answers = [answer(claim, found) for claim in register()]
    numbers = {each.claim.key: number for number, each in enumerate(answers, start=1)}
    sections = [section(paper, [each for each in answers if each.claim.paper == paper], numbers) for paper in PAPERS]
    return "\n\n".join(["# What the papers claim", INTRODUCTION, summary(answers, found), *sections]) + "\n"


INTRODUCTION = """\
Made by `benchmarks/make_claims_page.py` from cells that were measured here and from `classwise.theory`. Each claim is given
in our words, with the comparison that decides it and what came out. Verdicts are computed and never written by hand:

- **Measured claims.** A comparison is a figure, or a difference of two methods from the same starts, and a bound. It holds
  where the 95 % interval for other starts *and* other test images lies on the claimed side of the bound, and is contradicted
  where it lies on the other side; anything else decides nothing. Nothing is decided either before all planned starts are
  finished, five on the digits. A claim with several comparisons holds if all of them do, and does not hold if one is
  contradicted. Where there are cells in several places, one that is open has no vote: the verdict names the places that
  decide it, and is open where they disagree.
- **"At no cost" and "matches"** allow one point: the difference has to be above -1.
- **Claims of theory.** A theorem holds here if it is right in the exact model at all of many drawn parameters, which is no
  proof, and does not hold if it is wrong at one. [theory.md](theory.md) has proofs and counterexamples.
- **"Here"** is small: digits of 8x8 pixels or a fifth of CIFAR-10, small networks, short schedules. "Does not hold here" says
  that the opposite was seen in that setting, not that the papers' figures are wrong; "holds here" says no more either. With
  some forty claims, one or two of the intervals of 95 % have to be expected to miss.

Cells come from `benchmarks/effects.py` ([effects.md](effects.md) has their settings: methods and base methods go on from the same
robust start) and, where a claim is about training from random weights, from `benchmarks/claims_runs.py`:

```sh
python benchmarks/effects.py digits
python benchmarks/effects.py cifar10
python benchmarks/claims_runs.py
python benchmarks/make_claims_page.py
```

Accuracies are of test images; robust means right without attack and under it, a boundary error is right without attack and
wrong under it. Hard classes are chosen on half of the test images and judged on the other half, since a class that chance made
look hard would recover by chance. How far classes differ is the variance of their errors less what chance of images adds to
it, which depends on the average and so would differ between two methods."""


def summary(answers: list[Answer], found: list[Place]) -> str:
    """Counts and one line per claim."""
    counts = Counter(each.verdict for each in answers)
    told = ", ".join(f"{each.value} {counts[each]}" for each in Verdict)
    cells = "; ".join(f"{place.title}: {len(place.cells)} cells" for place in found) or "none yet"
    lines = [
        [str(number), SHORT[each.claim.paper], each.claim.says, verdict(each)]
        for number, each in enumerate(answers, start=1)
    ]
    return f"""\
## All claims

{flow(f"Of {len(answers)} claims: {told}. Measured so far: {cells}.")}

{table(["no.", "paper", "claim", "verdict"], lines)}"""


def verdict(found: Answer) -> str:
    """The verdict, with the places that decide it, or a reason where nothing is decided."""
    if found.verdict is not Verdict.OPEN:
        return f"**{found.verdict.value}**" + (f" ({', '.join(found.decided_in)})" if found.decided_in else "")
    return found.verdict.value + (f" ({found.because})" if found.because else "")


def section(paper: str, answers: list[Answer], numbers: dict[str, int]) -> str:
    """All claims of a paper with their rules and figures."""
    return "\n\n".join([f"## {PAPERS[paper]}", *(entry(each, numbers[each.claim.key]) for each in answers)])


def entry(found: Answer, number: int) -> str:
    """One claim."""
    claim = found.claim
    parts = [
        f"### {number}. {claim.where[0].upper()}{claim.where[1:]}: {verdict(found).replace('*', '')}",
        flow(claim.says),
    ]
    lines = [flow(f"- Decided by: {claim.rule}", "  ")] if claim.rule else []
    for index, test in enumerate(claim.tests):
        lines.append(flow(f"- {rule(test)}", "  "))
        lines += [
            "  " + flow(f"- {title}: {figure(test, findings[index])}", "    ")
            for title, (_, findings) in found.places.items()
            if findings[index].n
        ]
    if found.told:
        lines.append(flow(f"- {found.told}", "  "))
    if not found.places and claim.compute is None:
        lines.append("- Not measured.")
    if claim.remark:
        lines.append(flow(f"- {claim.remark}", "  "))
    return "\n\n".join([*parts, "\n".join(lines)])


def rule(test: Test) -> str:
    """A test in words: "clean accuracy of the worst class, CFA less TRADES: above 0 points"."""
    arms = arm(test.arm) + (f" less {arm(test.minus)}" if test.minus else "")
    unit = "" if test.measure.unit == "1" else f" {test.measure.unit}"
    words = test.measure.words
    premise = " (a premise: without it the rest says nothing)" if test.premise else ""
    return f"{words[0].upper()}{words[1:]}, {arms}: {test.side} {test.bound:g}{unit}{premise}."


def arm(name: str) -> str:
    """Cells by a name that can be read."""
    if name in METHODS:
        return METHODS[name].label
    if name in BASES:
        return f"{BASES[name].label} alone"
    if name.startswith("start-"):
        return f"the {name.removeprefix('start-').upper()} start"
    run, _, which = name.removeprefix("scratch-").partition("@")
    return RUNS[run].label + CHECKPOINTS[which]


def figure(test: Test, found: Finding) -> str:
    """What was measured, and what it says of the test."""
    assert found.figure is not None, "only what was measured is shown"
    digits = ".2f" if test.measure.unit == "1" else ".1f"
    both = found.figure.both
    bracket = f" [{test.scale * both[0]:+{digits}}, {test.scale * both[1]:+{digits}}]" if both else ""
    starts = f"{found.n} start{'' if found.n == 1 else 's'}"
    if not found.finished:
        starts = f"unfinished, {found.n} of {found.planned} starts"
    words = {Verdict.HOLDS: "as claimed", Verdict.FAILS: "contradicted", Verdict.OPEN: "open"}[found.verdict]
    return f"{test.scale * found.figure.value:+{digits}}{bracket} ({starts}): {words}."


if __name__ == "__main__":
    tyro.cli(main)
