"""Tables and figures of FRL (Xu et al., ICML 2021)."""

from __future__ import annotations

from typing import Literal

from classwise.configuration import replace
from classwise.data import CIFAR10, SVHN, NoAugmentation
from classwise.experiments.base import Column, Experiment, Prose, Row, Training
from classwise.experiments.frl_icml_assumed import (
    BETA,
    CODE,
    DEPARTED,
    HELD_OUT,
    HURT,
    OF_TEN,
    ON_PRN18,
    ON_SVHN,
    ON_WIDE,
    RELEASED,
)
from classwise.experiments.frl_rows import (
    CHOSEN,
    METHODS,
    TRAINED,
    Method,
    Problem,
    baseline_reweight,
    class_columns,
    error_columns,
    repaired,
)
from classwise.experiments.measures import Audited, Certified, HardHit, Quantity
from classwise.models import PreActResNet18, WideResNet
from classwise.policies import Fixed
from classwise.radius import Radius
from classwise.recipes import frl, smoothing
from classwise.threat import l2

CIFAR10_CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SVHN_CLASSES = tuple("0123456789")
SHOWN = ("cat", "dog", "car", "ship")
"""The classes of table 1."""
DEER = CIFAR10_CLASSES.index("deer")
WEIGHTS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
MARGINS = (1.5, 2.0, 2.5)
SIGMA = 0.5
"""Of the noise, in training and in certification."""
CERTIFIED = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Radii of certificates, in l_2; 0 is the error of the smoothed network without attack."""

NARROW = PreActResNet18(final_norm=False)
WIDE = WideResNet(depth=28, widen=10)
PRN18 = Problem("frl-prn18", CIFAR10(), NARROW)
WRN28 = Problem("frl-wrn28", CIFAR10(), WIDE)
SVHN_PRN18 = Problem("frl-svhn-prn18", SVHN(), NARROW, augmentation=NoAugmentation())
SVHN_WRN28 = Problem("frl-svhn-wrn28", SVHN(), WIDE, augmentation=NoAugmentation())
L2 = Problem("frl-l2-prn18", CIFAR10(), NARROW, l2("0.5"))

ERRORS: dict[str, Quantity] = {"standard error": "clean", "boundary error": "boundary", "robust error": "robust"}
OUTER = {name: of for name, of in ERRORS.items() if of != "boundary"}
"""The two that are shown of every class."""
DIFFERENCE = "PGD adversarial training minus natural training"


def experiments() -> tuple[Experiment, ...]:
    """All of them, in the order of the paper."""
    return (
        figure1(),
        table1(),
        table2(),
        table3(),
        figure3(),
        figure4(),
        figure5(),
        figure6(),
        figure7(),
        table4(),
        table5(),
        table6(),
        table7(),
        table8(),
    )


def table1() -> Experiment:
    """What adversarial training does to four classes of CIFAR-10."""
    shows = "Errors of four classes of CIFAR-10 after natural and adversarial training."
    return _changes("table1", PRN18, SHOWN, shows, (*ON_PRN18, OF_TEN))


def table2() -> Experiment:
    """FRL on CIFAR-10."""
    whole = _comparison("table2", PRN18, "Ten ways of training PreActResNet-18 on CIFAR-10, six of them FRL.", ON_PRN18)
    return replace(whole, rows=(*whole.rows, _by_the_letter(PRN18, "as released")), assumed=(*whole.assumed, *RELEASED))


def table3() -> Experiment:
    """FRL on SVHN."""
    shows = "Ten ways of training PreActResNet-18 on SVHN, six of them FRL."
    return _comparison("table3", SVHN_PRN18, shows, (*ON_SVHN, *ON_PRN18))


def table4() -> Experiment:
    """What adversarial training does to every class of CIFAR-10."""
    shows = "Errors of every class of CIFAR-10 after natural and adversarial training of PreActResNet-18."
    return _changes("table4", PRN18, CIFAR10_CLASSES, shows, ON_PRN18)


def table5() -> Experiment:
    """The same with a wide network."""
    shows = "Errors of every class of CIFAR-10 after natural and adversarial training of WRN28."
    return _changes("table5", WRN28, CIFAR10_CLASSES, shows, ON_WIDE)


def table6() -> Experiment:
    """The same on SVHN."""
    shows = "Errors of every class of SVHN after natural and adversarial training of PreActResNet-18."
    doubt = ("The second half of the printed table is headed as the first but holds robust errors.",)
    return _changes("table6", SVHN_PRN18, SVHN_CLASSES, shows, (*ON_SVHN, *ON_PRN18, *doubt))


def table7() -> Experiment:
    """FRL on CIFAR-10 with a wide network."""
    return _comparison("table7", WRN28, "Ten ways of training WRN28 on CIFAR-10, six of them FRL.", ON_WIDE)


def table8() -> Experiment:
    """FRL on SVHN with a wide network."""
    shows = "Ten ways of training WRN28 on SVHN, six of them FRL."
    return _comparison("table8", SVHN_WRN28, shows, (*ON_SVHN, *ON_WIDE))


def figure1() -> Experiment:
    """Errors of every class of CIFAR-10."""
    bars = _bars("figure1", PRN18, CIFAR10_CLASSES, "PreActResNet-18 on CIFAR-10", ON_PRN18)
    averages = tuple(
        Column(f"average {title}", Audited(of, "average", "pgd-20", error=True), printed=False)
        for title, of in OUTER.items()
    )
    natural, trained = "natural training", "PGD adversarial training"
    prose = [
        Prose(trained, f"{title}, {name}", f"text: {trained}, class {name}", title)
        for name in ("cat", "car")
        for title in OUTER
    ]
    prose += [Prose(trained, f"average {title}", f"text: {trained}", f"average {title}") for title in OUTER]
    prose += [
        Prose(natural, f"robust error, {name}", f"text: {natural}", "robust error of every class")
        for name in CIFAR10_CLASSES
    ]
    return replace(
        bars,
        source="Sections 2 and A.1, whose runs it shares with the tables where both have the same --out; numbers of the text.",
        columns=(*bars.columns, *averages),
        prose=tuple(prose),
    )


def figure3() -> Experiment:
    """One class gets a heavier boundary error or a larger radius."""
    start = PRN18.pgd_at()
    # The one recipe for all points: with steps from the largest radius in the batch, a heavier weight changes nothing else.
    recipe = frl.frl_rm()

    def row(kind: str, ratio: float) -> Row:
        knob = tuple(ratio if group == DEER else 1.0 for group in range(10))
        policy = Fixed(robust=knob) if kind == "weight" else Fixed(radius=knob)
        if ratio == 1:  # one training for both halves of the figure
            policy = Fixed(robust=knob, radius=knob)
        name = f"{start.name}-deer" + (f"-{kind}-{ratio:g}" if ratio != 1 else "")
        training = Training(name, replace(recipe, policy=policy), start)
        return Row(f"{kind} {ratio:g}x", training, "last", kind, printed=False)

    kinds = {"weight": WEIGHTS, "radius": MARGINS}
    return Experiment(
        name="frl-icml-figure3",
        paper="frl-icml",
        table="figure3",
        shows="Errors of one class whose boundary error weighs more, or whose radius is larger, than those of the others.",
        source="Section 5.3 (class, ranges), section 5.1 (fine-tuning); the picture has no numbers.",
        assumed=(
            "The values between the ends are not said: steps of a half.",
            "The network is fine-tuned as by FRL, with its loss (TRADES with beta 1.5) and schedule.",
            "The other classes keep weight 1; the loss is a mean over the batch, so a heavier class adds to the whole.",
            "The network after the last epoch is shown, so that no choice by another figure hides what weight or radius do.",
            *TRAINED,
            HELD_OUT,
            *ON_PRN18,
        ),
        rows=tuple(row(kind, ratio) for kind, ratios in kinds.items() for ratio in (1.0, *ratios)),
        columns=tuple(
            column
            for kind in kinds
            for title, of in ERRORS.items()
            for column in class_columns(
                of, ["deer"], f"{title} of {{}}, by {kind}", block=kind, printed=False, groups=[DEER]
            )
        ),
        picture="sweep",
    )


def figure4() -> Experiment:
    """Certified errors of every class by randomised smoothing."""
    smoothed = Training("frl-smoothing", smoothing.cifar10_rn110_gaussian_noise())
    return Experiment(
        name="frl-icml-figure4",
        paper="frl-icml",
        table="figure4",
        shows="Errors of each class that randomised smoothing certifies at several l_2 radii.",
        source="Section A.1.3 and Cohen et al. 2019; the picture has no numbers.",
        assumed=(
            f"Sigma, network and schedule are not said: {SIGMA:g}, and ResNet-110 trained as by Cohen et al.",
            "The radii are not said: 0 to 1. The picture is of accuracies, where the paper shows errors.",
        ),
        rows=(Row("randomised smoothing", smoothed, printed=False),),
        columns=tuple(
            Column(
                f"certified robust error at {radius:g}, {name}" if radius else f"certified standard error, {name}",
                Certified("class", error=True, radius=radius, group=group, sigma=SIGMA),
                printed=False,
            )
            for radius in CERTIFIED
            for group, name in enumerate(CIFAR10_CLASSES)
        ),
        picture="certified",
    )


def figure5() -> Experiment:
    """Errors of every class with a wide network."""
    return _bars("figure5", WRN28, CIFAR10_CLASSES, "WRN28 on CIFAR-10", ON_WIDE)


def figure6() -> Experiment:
    """Errors of every class under l_2."""
    steps = ("In training, attacks take ten steps of 0.125; the paper names the steps of evaluation only, 20 of 0.1.",)
    subject = "PreActResNet-18 on CIFAR-10 against l_2 0.5"
    return _bars("figure6", L2, CIFAR10_CLASSES, subject, (*steps, *ON_PRN18), Radius("0.1"))


def figure7() -> Experiment:
    """Errors of every class of SVHN."""
    return _bars("figure7", SVHN_PRN18, SVHN_CLASSES, "PreActResNet-18 on SVHN", (*ON_SVHN, *ON_PRN18))


def _comparison(table: str, problem: Problem, shows: str, assumed: tuple[str, ...] = ()) -> Experiment:
    """A table of the ten methods and their average and worst-class errors."""
    start = problem.pgd_at()
    rows = [
        Row("PGD adversarial training", start),
        *(Row(f"TRADES 1/lambda={beta:g}", problem.trades(beta)) for beta in (1.0, 6.0)),
        Row("baseline reweight", baseline_reweight(start)),
    ]
    for tau in (0.05, 0.07):
        rows += [Row(f"FRL {method} tau {tau:g}", repaired(start, method, (tau, tau))) for method in METHODS]
    rows += [_by_the_letter(problem, "as printed", method) for method in METHODS]
    return Experiment(
        name=f"frl-icml-{table}",
        paper="frl-icml",
        table=table,
        shows=shows,
        source=f"Sections 5.1 and A.1. FRL departs from algorithm 1 and eq. 9 and 11 towards its code, {CODE}, as listed below.",
        assumed=(
            *DEPARTED,
            *TRAINED,
            CHOSEN,
            HELD_OUT,
            "All repairs start from the network of the first row and take 120 epochs; the paper says neither for certain.",
            "Baseline reweight fine-tunes as FRL does; its worst class weighs twice as much.",
            *assumed,
        ),
        rows=tuple(rows),
        columns=error_columns("standard"),
    )


def _by_the_letter(
    problem: Problem, form: Literal["as printed", "as released"], method: Method = "Reweight+Remargin"
) -> Row:
    """A row of ours: FRL as algorithm 1 prints it, or as its code has it, with the slack of the code."""
    config = frl.frl_rmrw_paper() if form == "as printed" else frl.frl_rmrw_published_code()
    training = repaired(problem.pgd_at(), method, (0.07, 0.07), config, form.replace(" ", "-"))
    return Row(f"FRL {method} tau 0.07, {form}", training, printed=False)


def _changes(
    table: str, problem: Problem, names: tuple[str, ...], shows: str, assumed: tuple[str, ...] = ()
) -> Experiment:
    """A table of class errors after natural and adversarial training, and of their differences."""
    natural, trained = problem.natural(), problem.pgd_at()
    classes = CIFAR10_CLASSES if names == SHOWN else names
    rows: list[Row] = []
    columns: list[Column] = []
    for title, of in OUTER.items():
        rows += [
            Row(f"{title} / natural training", natural, block=title),
            Row(f"{title} / PGD adversarial training", trained, block=title),
            Row(f"{title} / {DIFFERENCE}", trained, block=title, minus=natural),
        ]
        columns += class_columns(of, names, block=title, groups=[classes.index(name) for name in names])
        hurt = HardHit("clean" if of == "clean" else "robust", "pgd-20")
        columns.append(Column("hard classes are hurt more", hurt, block=title, printed=False))
    return Experiment(
        name=f"frl-icml-{table}",
        paper="frl-icml",
        table=table,
        shows=shows,
        source="Section A.1; for what it does not say, recipes cifar10-prn18-natural and cifar10-prn18-pgd-at.",
        assumed=(*TRAINED, HELD_OUT, *assumed, *HURT),
        rows=tuple(rows),
        columns=tuple(columns),
    )


def _bars(
    table: str,
    problem: Problem,
    names: tuple[str, ...],
    subject: str,
    assumed: tuple[str, ...] = (),
    step: Radius | None = None,
) -> Experiment:
    """Bars of the errors of every class after natural training, PGD adversarial training and TRADES."""
    return Experiment(
        name=f"frl-icml-{table}",
        paper="frl-icml",
        table=table,
        shows=f"Clean and robust error of each class after natural and adversarial training: {subject}.",
        source="Section A.1, whose runs it shares with the tables where both have the same --out; a picture without numbers.",
        assumed=(
            BETA,
            "The captions name natural and adversarial training only; TRADES stands beside them as in figure 1.",
            "Bars are accuracies where the paper draws errors.",
            *TRAINED,
            HELD_OUT,
            *assumed,
        ),
        rows=tuple(
            Row(name, training, printed=False)
            for name, training in {
                "natural training": problem.natural(),
                "PGD adversarial training": problem.pgd_at(),
                "TRADES": problem.trades(6),
            }.items()
        ),
        columns=tuple(
            column
            for title, of in OUTER.items()
            for column in class_columns(of, names, f"{title}, {{}}", threat=problem.threat, printed=False, step=step)
        ),
        picture="bars",
    )
