"""Tables and figures of CFA (Wei et al., CVPR 2023)."""

from __future__ import annotations

from typing import Literal

from classwise.data.cifar10 import CLASS_NAMES
from classwise.experiments.base import Column, Experiment, Row
from classwise.experiments.cfa_rows import (
    METHODS,
    TINY_THRESHOLD,
    accuracies,
    best_and_last,
    by_beta,
    by_radius,
    followed,
    frl_rows,
    on_tiny_imagenet,
    trained,
    with_averages,
)
from classwise.experiments.courses import Fall, Followed, Jump, Weights
from classwise.experiments.figure import Figure
from classwise.experiments.measures import Audited

SWEPT = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Base budgets of figures 5 and 7."""
BEST = (0.5, 0.6)
"""Epochs 101 to 120 of 200, as fractions of training."""
LATE = (0.9, 1.0)
"""Epochs 181 to 200 of 200."""

SETTINGS = "Section 5.1; the papers and code of the baselines where it says nothing."
SELECTED = (
    "The best checkpoint is chosen on validation images, here also for networks without an average; the paper does not say "
    "on which images, its code takes test images."
)
LAST = "Where a row has an average of the weights, its last checkpoint is the average after the last epoch."
LOSS = "The loss is divided by 1 + beta (eq. 8) where the regularisation is calibrated, otherwise it is that of TRADES."
FRIENDLY = "Of FAT's attack the paper says nothing: it is that of FAT's own code, with its schedule of budgets."
EVERY_ONE = (
    "Each network holds out the 2 % of each class that FAWA needs; whether the paper's baselines do is not said."
)
VALIDATED = (
    "Accuracies over epochs are of validation images (100 of each class); the paper's are presumably of test images."
)
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
KEPT: dict[str, Weights] = {"live weights": "raw", "average of weights": "averaged"}
"""Blocks of rows, and the weights that they follow."""


def experiments() -> tuple[Experiment, ...]:
    """All of them, in the order of the paper."""
    return (
        figure2(),
        figure2b(),
        figure2c(),
        figure3(),
        figure3b(),
        figure4(),
        table1(),
        overfitting(),
        table2(),
        figure5(),
        figure5b(),
        table3(),
        table4(),
        figure6(),
        figure7(),
        figure7b(),
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
            "Numbers are means of epochs 101 to 200; the paper's text speaks of single epochs, so they are not compared.",
        ),
        rows=(
            Row("AT", trained("AT"), block="live weights", printed=False),
            Row("AT + FAWA", trained("AT", average="FAWA"), block="average of weights", printed=False),
        ),
        columns=tuple(columns),
        picture="curves",
    )


def table1() -> Experiment:
    """CFA beside its baselines and FRL."""
    return Experiment(
        name="cfa-table1",
        paper="cfa",
        table="table1",
        shows="CFA on adversarial training, TRADES and FAT, beside an average of the weights and beside FRL; best and last.",
        source=SETTINGS,
        assumed=(
            SELECTED,
            LAST,
            LOSS,
            FRIENDLY,
            EVERY_ONE,
            "Which FRL is not said: Reweight + Remargin with slack 0.07, as its code has it, from the network of the row TRADES.",
            "FRL + EMA averages from the first epoch of the repair on, which ends before epoch 50.",
        ),
        rows=best_and_last(with_averages() | frl_rows()),
        columns=accuracies(("clean", "robust"), "worst", "worst class"),
        paper_runs=5,
    )


def overfitting() -> Experiment:
    """Robust over-fitting, of each class."""
    named: list[tuple[str, Figure, int]] = [("average", "average", 0), ("worst class", "worst", 0)]
    named += [(name, "class", number) for number, name in enumerate(CLASS_NAMES)]
    rows = [
        Row(name, training, block="live weights" if name in METHODS else "average of weights", printed=False)
        for name, training in with_averages().items()
    ]
    return Experiment(
        name="cfa-overfitting",
        paper="cfa",
        table="table1",
        shows="Robust over-fitting of each class: the best validation accuracy over epochs minus that after the last one.",
        source="As table 1, whose runs it shares where both have the same --out; the paper has best and last rows only.",
        assumed=(VALIDATED, LOSS, FRIENDLY, "Every class has its own best epoch, so that a fall is partly noise."),
        rows=tuple(rows),
        columns=tuple(
            Column(f"fall of robust accuracy, {title}", Fall("robust", figure, group, weights), block, printed=False)
            for block, weights in KEPT.items()
            for title, figure, group in named
        ),
    )


def table2() -> Experiment:
    """The calibrated parts one by one, without an average."""
    return Experiment(
        name="cfa-table2",
        paper="cfa",
        table="table2",
        shows="Calibrated radius (CCM) and calibrated regularisation (CCR) without an average of the weights.",
        source=f"Section 5.3.1. {SETTINGS}",
        assumed=(SELECTED, LOSS, FRIENDLY, EVERY_ONE),
        rows=(
            Row("AT", trained("AT")),
            Row("AT + CCM", trained("AT", "CCM")),
            Row("TRADES", trained("TRADES")),
            Row("TRADES + CCM", trained("TRADES", "CCM")),
            Row("TRADES + CCR", trained("TRADES", "CCR")),
            Row("TRADES + CCM + CCR", trained("TRADES", "CCM + CCR")),
            Row("FAT", trained("FAT")),
            Row("FAT + CCM", trained("FAT", "CCM")),
        ),
        columns=accuracies(("robust",), "worst", "worst class"),
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


def table3() -> Experiment:
    """The gated average beside the plain one."""
    return Experiment(
        name="cfa-table3",
        paper="cfa",
        table="table3",
        shows="The average that leaves out epochs with a weak class (FAWA) beside the plain one (EMA).",
        source=f"Section 5.3.2. {SETTINGS}",
        assumed=(SELECTED, FRIENDLY, EVERY_ONE),
        rows=tuple(
            Row(f"{method} + {average}", trained(method, average=average))
            for method in METHODS
            for average in ("EMA", "FAWA")
        ),
        columns=accuracies(("robust",), "worst", "worst class"),
    )


def table4() -> Experiment:
    """Tiny-ImageNet."""
    found = {name: on_tiny_imagenet(training) for name, training in with_averages().items()}
    return Experiment(
        name="cfa-table4",
        paper="cfa",
        table="table4",
        shows="CFA on Tiny-ImageNet with ResNet-18, judged by the worst fifth of the classes; best and last.",
        source=f"Appendix C.1. {SETTINGS}",
        assumed=(
            "All settings that appendix C.1 does not give are those of CIFAR-10; crops are padded by 4 pixels.",
            "The worst fifth also stands for the worst class in the choice of the best checkpoint.",
            f"FAWA's threshold is not said, and 0.2 out of reach: {TINY_THRESHOLD} lies between the best and last row of AT.",
            SELECTED,
            LAST,
            LOSS,
            FRIENDLY,
        ),
        rows=best_and_last(found),
        columns=accuracies(("clean", "robust"), "worst-fifth", "worst 20 % of classes"),
    )


def figure6() -> Experiment:
    """Robust accuracy of each class, CFA beside EMA."""
    compared = {name: each for name, each in with_averages().items() if "+" in name and not name.startswith("FAT")}
    return Experiment(
        name="cfa-figure6",
        paper="cfa",
        table="figure6",
        shows="Robust accuracy of each class with CFA and with a plain average of the weights, and its deviation over classes.",
        source="Appendix C.2; the runs of table 1.",
        assumed=(
            "Which base method is drawn is not said: adversarial training and TRADES are.",
            "The printed variances 0.15 (CFA) and 0.17 (EMA) have the size of standard deviations of fractions, 15 and 17 %.",
            SELECTED,
        ),
        rows=tuple(Row(name, training, printed=False) for name, training in compared.items()),
        columns=(
            *(
                Column(f"AA accuracy, {name}", Audited("robust", "class", group=number), printed=False)
                for number, name in enumerate(CLASS_NAMES)
            ),
            Column("AA accuracy, standard deviation over classes", Audited("robust", "deviation"), printed=False),
        ),
        picture="bars",
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
