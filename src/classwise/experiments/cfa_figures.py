"""Figures of CFA (Wei et al., CVPR 2023). Figure 1 is of Gaussian data, which the theory is about."""

from __future__ import annotations

from typing import Literal

from classwise.data.cifar10 import CLASS_NAMES
from classwise.experiments.base import Column, Experiment, Prose, Row
from classwise.experiments.cfa_assumed import EVERY_ONE, LOSS, SELECTED, VALIDATED
from classwise.experiments.cfa_rows import KEPT, accuracies, by_beta, by_radius, followed, trained, with_averages
from classwise.experiments.courses import Followed, Jump
from classwise.experiments.figure import Figure
from classwise.experiments.measures import Audited

SWEPT = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Base budgets of figures 5 and 7."""
BEST = (0.5, 0.6)
"""Epochs 101 to 120 of 200, as fractions of training."""
LATE = (0.9, 1.0)
"""Epochs 181 to 200 of 200."""

RADII = (
    "The radii cannot be read in the text: 2/255 to 16/255 in steps of 2/255, which makes 8 networks and puts 8/255 among them.",
    "Robust accuracy is under PGD-10 at 8/255 whatever the radius of training; that radius is lost in the text, too.",
    VALIDATED,
)
BETAS = (
    "beta is 1, 2, … 8: the paper says from 1 to 8.",
    "Over which epochs the mean is taken cannot be read in the text: epochs 101 to 120 are, as in figure 2(b).",
    VALIDATED,
)


def figure2() -> Experiment:
    """Eight radii of training: robust accuracy over epochs."""
    return Experiment(
        name="cfa-figure2",
        paper="cfa",
        table="figure2",
        shows="Adversarial training with eight radii: robust accuracy at 8/255 over epochs.",
        source="Section 3.1 and figure 2(a), which has no numbers; settings of section 5.1.",
        assumed=RADII,
        rows=by_radius(),
        columns=(Column("robust accuracy at 8/255, average", Followed("robust"), printed=False),),
        picture="curves",
    )


def figure2b() -> Experiment:
    """Eight radii of training: robust accuracy of each class when the average is best."""
    return _sweep("cfa-figure2b", "robust", BEST)


def figure2c() -> Experiment:
    """Eight radii of training: robust accuracy of each class at the end."""
    return _sweep("cfa-figure2c", "robust", LATE)


def figure3() -> Experiment:
    """Eight values of beta: robust accuracy of each class."""
    return _sweep("cfa-figure3", "robust", BEST)


def figure3b() -> Experiment:
    """Eight values of beta: clean accuracy of each class."""
    return _sweep("cfa-figure3b", "clean", BEST)


def figure4() -> Experiment:
    """Fluctuation of the worst class from epoch to epoch."""
    shown: tuple[tuple[Figure, str], ...] = (("average", "average"), ("worst", "worst class"))
    columns = []
    for block, weights in KEPT.items():
        for figure, title in shown:
            course = Followed("robust", figure, begin=BEST[0], weights=weights)
            columns.append(Column(f"robust accuracy, {title}", course, block=block, printed=False))
        for figure, title in shown:
            jump = Jump("robust", figure, begin=BEST[0], weights=weights)
            columns.append(
                Column(f"change of robust accuracy between epochs, {title}", jump, block=block, printed=False)
            )
    return Experiment(
        name="cfa-figure4",
        paper="cfa",
        table="figure4",
        shows="Robust accuracy from epoch to epoch, of all images and of the worst class, without and with FAWA.",
        source="Section 3.3 and figure 4; settings of section 5.1.",
        assumed=(
            VALIDATED,
            "The attack is PGD-10, as in figure 2. With 100 images of a class one image is a point.",
            "Figure 4(b) is of adversarial training with FAWA alone: the text around it speaks of nothing else.",
            "Numbers are means of epochs 101 to 200; those of the paper's text are of single epochs and pairs of them.",
            "Changes at a drop of the learning rate do not count, as in the text; the curves show them.",
        ),
        rows=(
            Row("AT", trained("AT"), block="live weights", printed=False),
            Row("AT + FAWA", trained("AT", average="FAWA"), block="average of weights", printed=False),
        ),
        columns=tuple(columns),
        picture="curves",
    )


def figure5() -> Experiment:
    """Base budget of the calibrated radius."""
    rows = [Row("AT", trained("AT"), printed=False)]
    for base in SWEPT:
        rows.append(Row(f"CCM, base {base}", trained("AT", "CCM", base=base), printed=False))
    return Experiment(
        name="cfa-figure5",
        paper="cfa",
        table="figure5",
        shows="Adversarial training with a calibrated radius over its base budget, beside the one without.",
        source="Section 5.3.1 and figure 5(a), which has no numbers.",
        assumed=(SELECTED, EVERY_ONE, "Base budgets in steps of 0.1: five values from 0.3 to 0.7."),
        rows=tuple(rows),
        columns=accuracies(("robust",), "worst", "worst class", printed=False),
        picture="sweep",
    )


def figure5b() -> Experiment:
    """Calibrated radii over training."""
    return Experiment(
        name="cfa-figure5b",
        paper="cfa",
        table="figure5",
        shows="The radius of each class over training; in numbers the accuracy that it follows, on validation images.",
        source="Section 5.3.1 and figure 5(b), which has no numbers; a run of cfa-figure5.",
        assumed=(
            "Which base budget is drawn cannot be read in the text: 0.5 is assumed.",
            "Radii follow training accuracy; the numbers here are of validation images, epochs 181 to 200.",
        ),
        rows=(Row("CCM, base 0.5", trained("AT", "CCM"), printed=False),),
        columns=followed("robust", *LATE),
        picture="knobs",
    )


def figure6() -> Experiment:
    """Robust accuracy of each class, CFA beside EMA."""
    deviation = "AA accuracy, standard deviation over classes"
    compared = {name: each for name, each in with_averages().items() if "+" in name and not name.startswith("FAT")}
    return Experiment(
        name="cfa-figure6",
        paper="cfa",
        table="figure6",
        shows="Robust accuracy of each class with CFA and with a plain average of the weights, and its deviation over classes.",
        source="Appendix C.2; the runs of table 1.",
        assumed=(
            "Which base method is drawn is not said: adversarial training and TRADES are, and both stand beside the one number.",
            "The printed variances 0.15 (CFA) and 0.17 (EMA) have the size of standard deviations of fractions, 15 and 17 %.",
            SELECTED,
            EVERY_ONE,
        ),
        rows=tuple(Row(name, training, printed=False) for name, training in compared.items()),
        columns=(
            *(
                Column(f"AA accuracy, {name}", Audited("robust", "class", group=number), printed=False)
                for number, name in enumerate(CLASS_NAMES)
            ),
            Column(deviation, Audited("robust", "deviation"), printed=False),
        ),
        picture="bars",
        prose=tuple(
            Prose(f"{method} + {average}", deviation, f"text: {average}", "variance of class-wise robust accuracy")
            for method in ("AT", "TRADES")
            for average in ("EMA", "CFA")
        ),
    )


def figure7() -> Experiment:
    """Base budget of the calibrated regularisation."""
    rows = [Row("TRADES", trained("TRADES"), printed=False)]
    for base in SWEPT:
        rows.append(Row(f"CCM + CCR, base {base}", trained("TRADES", "CCM + CCR", base=base), printed=False))
    return Experiment(
        name="cfa-figure7",
        paper="cfa",
        table="figure7",
        shows="TRADES with calibrated radius and regularisation over the base budget of the latter, beside TRADES.",
        source="Appendix C.3 and figure 7(a), which has no numbers.",
        assumed=(SELECTED, LOSS, EVERY_ONE, "Base budgets in steps of 0.1 from 0.3 to 0.7."),
        rows=tuple(rows),
        columns=accuracies(("robust",), "worst", "worst class", attack="PGD-10", printed=False),
        picture="sweep",
    )


def figure7b() -> Experiment:
    """Calibrated regularisation over training."""
    return Experiment(
        name="cfa-figure7b",
        paper="cfa",
        table="figure7",
        shows="The weights of each class's terms over training; in numbers the accuracy they follow, on validation images.",
        source="Appendix C.3 and figure 7(b), which has no numbers; a run of cfa-figure7.",
        assumed=(
            "Which base budget is drawn cannot be read in the text: 0.5 is assumed.",
            "beta of a class shows as the quotient of its robust and its label weight, times 6.",
            "Weights follow training accuracy; the numbers here are of validation images, epochs 181 to 200.",
        ),
        rows=(Row("CCM + CCR, base 0.5", trained("TRADES", "CCM + CCR"), printed=False),),
        columns=followed("robust", *LATE),
        picture="knobs",
    )


def _sweep(name: str, of: Literal["clean", "robust"], epochs: tuple[float, float]) -> Experiment:
    """Accuracy of each class in some epochs over the radii (figure 2) or the betas (figure 3) of training."""
    radii = "figure2" in name
    first, last = (round(200 * each) for each in epochs)
    swept = "radii of adversarial training" if radii else "values of beta of TRADES"
    place = "Section 3.1 and figure 2" if radii else "Section 3.2 and figure 3"
    return Experiment(
        name=name,
        paper="cfa",
        table="figure2" if radii else "figure3",
        shows=f"{of.capitalize()} accuracy of each class, mean of epochs {first + 1} to {last}, over eight {swept}.",
        source=f"{place}, which has no numbers; settings of section 5.1.",
        assumed=RADII if radii else BETAS,
        rows=by_radius() if radii else by_beta(),
        columns=followed(of, *epochs),
        picture="sweep",
    )
