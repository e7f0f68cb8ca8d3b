"""Tables of CFA (Wei et al., CVPR 2023), and the list of all its experiments."""

from __future__ import annotations

from dataclasses import replace

from classwise.data.cifar10 import CLASS_NAMES
from classwise.experiments import cfa_figures as figures
from classwise.experiments.base import Column, Experiment, Row
from classwise.experiments.cfa_assumed import (
    EVERY_ONE,
    FRIENDLY,
    LAST,
    LOSS,
    LOST,
    SELECTED,
    SETTINGS,
    TINY_GATE,
    VALIDATED,
)
from classwise.experiments.cfa_rows import (
    KEPT,
    METHODS,
    TINY_THRESHOLD,
    accuracies,
    best_and_last,
    frl_rows,
    on_tiny_imagenet,
    trained,
    with_averages,
)
from classwise.experiments.courses import Fall
from classwise.experiments.figure import Figure


def experiments() -> tuple[Experiment, ...]:
    """All of them, in the order of the paper."""
    found = (
        figures.figure2(),
        figures.figure2b(),
        figures.figure2c(),
        figures.figure3(),
        figures.figure3b(),
        figures.figure4(),
        table1(),
        overfitting(),
        table2(),
        figures.figure5(),
        figures.figure5b(),
        table3(),
        table4(),
        figures.figure6(),
        figures.figure7(),
        figures.figure7b(),
    )
    return tuple(replace(each, assumed=(*each.assumed, *LOST)) for each in found)


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
            "FRL takes the 40 epochs of its code; its own text says 120.",
            "FRL judges by the 100 validation images of each class that all rows hold out; its own text says 300.",
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
        paper_runs=5,
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
        paper_runs=5,
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
            "All settings that appendix C.1 does not give are those of CIFAR-10.",
            "The worst fifth also stands for the worst class in the choice of the best checkpoint.",
            f"FAWA's threshold is not said, and 0.2 out of reach: {TINY_THRESHOLD:g}.",
            *TINY_GATE,
            SELECTED,
            EVERY_ONE,
            LAST,
            LOSS,
            FRIENDLY,
        ),
        rows=best_and_last(found),
        columns=accuracies(("clean", "robust"), "worst-fifth", "worst 20 % of classes"),
    )
