"""Tables and figures of the first version of FRL (Xu et al., arXiv:2010.06121v1)."""

from __future__ import annotations

from classwise.configuration import replace
from classwise.data import CIFAR10, GTSRB, CropFlip, Split
from classwise.data.cifar10 import CLASS_NAMES
from classwise.data.gtsrb import LARGEST_17
from classwise.experiments.base import Column, Experiment, Prose, Row, Training
from classwise.experiments.frl_rows import (
    CHOSEN,
    METHODS,
    TRAINED,
    Problem,
    baseline_reweight,
    class_columns,
    error_columns,
    repaired,
)
from classwise.experiments.measures import USUAL, Audited, Figure, Followed, Quantity, Violation
from classwise.models import CNN3, CNN4, ResNet18, ResNet34
from classwise.recipes import frl
from classwise.threat import ThreatModel, linf

SLACKS = (0.05, 0.07)
"""tau_1 and tau_2 of section 5."""
SIGNS = linf("12/255")
WITHOUT_FLIPS = CropFlip(flip=False)
"""A mirrored sign may be another one."""
CIFAR = {
    "ResNet18": Problem("frl-v1-resnet18", CIFAR10(), ResNet18()),
    "ResNet34": Problem("frl-v1-resnet34", CIFAR10(), ResNet34()),
}
SIGNS17 = Problem("frl-v1-signs17", GTSRB(classes=LARGEST_17), CNN4(), SIGNS, WITHOUT_FLIPS)
SIGNS43 = Problem("frl-v1-signs43", GTSRB(), CNN3(), SIGNS, WITHOUT_FLIPS)

SCHEDULE = (
    "Epochs and learning rate are not said: 200 epochs from 0.1, divided by 10 at 100 and 150, as in the ICML text."
)
EVALUATION = ("PGD has 20 steps, which this version does not say.", *TRAINED)
HELD_OUT = (
    "Every network holds out the 300 images of each class that the ICML text gives FRL, also where nothing is repaired."
)
BETA = (
    "The weight of TRADES is not said: beta 2, for which table 2 prints the same errors of ResNet-18 (clean 16.9, worst class "
    "34.9, worst robust 82.2)."
)
REPAIRS = (
    HELD_OUT,
    "The repairs start from the row of PGD adversarial training; rates and 120 epochs are those of recipe frl-v1.",
    "As algorithm 1 prints it, what moves weights and radii is the error minus tau, without the average.",
    "Radii have no limit. Weights do: one that would fall below 0 is 0, and the others are scaled back to mean 1.",
    "Clean and boundary term count alike (beta 1), as in the sum of eq. 16; the text names no other weight.",
    CHOSEN,
    "Training ends early once every constraint holds, as in algorithm 1; its constraints are relative to the average.",
    "The rule of the baseline is not printed: the ICML text raises the cost of the worst class, here to twice the others'.",
)
TRAFFIC = (
    "The layers of the network are not said: 3x3 convolutions, each followed by ReLU and 2x2 pooling, and a linear head.",
    "Augmentation is not said: random crops as on CIFAR-10, without flips, which would turn signs into other ones.",
    "The learning rate is that of networks with batch normalisation, which these have not: 0.1 may train them to a constant.",
    "Training has the radius of the evaluation.",
)


FEW_SIGNS = (
    "Each network holds out 5 % of each class, at least 20 images, which choose nothing: 300 is more than a class has."
)


def experiments() -> tuple[Experiment, ...]:
    """All of them, in the order of the paper."""
    return (figure1(), table1(), table2(), table3(), figure2(), table4(), table5(), figure3(), figure4())


def figure1() -> Experiment:
    """Accuracy of each class without attack and under two radii."""
    weak = linf("4/255")
    trained = _trained(CIFAR["ResNet18"])
    # Bars have five colours: the first and the sixth are of one network.
    natural, *robust = trained
    pgd = robust[0]
    order = [*((title, USUAL) for title in trained), *((title, weak) for title in (*robust, natural))]
    columns = [class_columns("clean", CLASS_NAMES, "clean accuracy, {}", error=False, block="8/255", printed=False)]
    for threat in (USUAL, weak):
        radius = str(threat.radius)
        title = f"accuracy under PGD {radius}, {{}}"
        columns.append(
            class_columns("robust", CLASS_NAMES, title, error=False, threat=threat, block=radius, printed=False)
        )
    return Experiment(
        name="frl-v1-figure1",
        paper="frl-v1",
        table="figure1",
        shows="Accuracy of each class after natural, PGD and TRADES training of ResNet-18: clean, under PGD 8/255 and 4/255.",
        source="Section 2; the networks are those of table 1. The picture has no numbers: those of the prose stand beside cat "
        "(they are the worst class of table 1), and those of the abstract beside automobile.",
        assumed=(SCHEDULE, HELD_OUT, BETA, *EVALUATION),
        rows=tuple(
            Row(f"{title}, PGD {threat.radius}", trained[title], block=str(threat.radius)) for title, threat in order
        ),
        columns=tuple(column for each in columns for column in each),
        picture="bars",
        prose=tuple(
            Prose(f"{pgd}, PGD 8/255", f"{ours}, {name}", f"{where}: {pgd}, class {name}", theirs)
            for where, name in (("text", "cat"), ("text (abstract)", "automobile"))
            for ours, theirs in (
                ("clean accuracy", "clean accuracy"),
                ("accuracy under PGD 8/255", "adversarial accuracy"),
            )
        ),
    )


def table1() -> Experiment:
    """Average, worst and best class of three ways of training."""
    return Experiment(
        name="frl-v1-table1",
        paper="frl-v1",
        table="table1",
        shows="Clean and PGD accuracy, average, worst and best class, of three trainings of ResNet-18 and ResNet-34.",
        source="Section 2; table 4 of the paper repeats every number.",
        assumed=(SCHEDULE, HELD_OUT, BETA, *EVALUATION),
        rows=tuple(
            Row(f"{network} / {title}", training)
            for network, problem in CIFAR.items()
            for title, training in _trained(problem).items()
        ),
        columns=_extremes(USUAL),
    )


def table2() -> Experiment:
    """FRL on CIFAR-10."""
    return Experiment(
        name="frl-v1-table2",
        paper="frl-v1",
        table="table2",
        shows="Clean, boundary and robust error, average and worst class, of seven methods on CIFAR-10 with ResNet-18.",
        source="Section 5 (tau 5 % and 7 %) and algorithm 1.",
        assumed=(
            "The text names PreAct ResNet and ResNet-18 in one paragraph: ResNet-18.",
            SCHEDULE,
            *REPAIRS,
            *EVALUATION,
        ),
        rows=_methods(CIFAR["ResNet18"]),
        columns=error_columns("clean"),
    )


def table3() -> Experiment:
    """FRL on traffic signs."""
    return Experiment(
        name="frl-v1-table3",
        paper="frl-v1",
        table="table3",
        shows="The errors of table 2 on 17 classes of GTSRB with a CNN of four layers, under PGD 12/255.",
        source="Section 5.",
        assumed=(
            "Which 17 classes are kept is not said: the largest, all those with more than 1,000 training images.",
            "tau is not said for this data set: 5 % and 7 % as on CIFAR-10.",
            SCHEDULE,
            *TRAFFIC,
            *REPAIRS,
            *EVALUATION,
        ),
        rows=_methods(SIGNS17),
        columns=error_columns("clean", SIGNS),
    )


def table4() -> Experiment:
    """Table 1 again."""
    return replace(
        table1(),
        name="frl-v1-table4",
        table="table4",
        shows="Table 1 again, number by number, in the appendix.",
        source="As table 1, whose runs it shares where both have the same --out.",
    )


def table5() -> Experiment:
    """Three ways of training on all traffic signs."""
    return Experiment(
        name="frl-v1-table5",
        paper="frl-v1",
        table="table5",
        shows="Clean and PGD 12/255 accuracy, average, worst and best class, on 43 classes of GTSRB with a CNN of three layers.",
        source="Appendix A.2.",
        assumed=(
            SCHEDULE,
            *TRAFFIC,
            FEW_SIGNS,
            *EVALUATION,
            "The weight of TRADES is not said: beta 2, as for ResNet-18 on CIFAR-10.",
        ),
        rows=tuple(Row(title, training) for title, training in _on_all_signs().items()),
        columns=_extremes(SIGNS),
    )


def figure2() -> Experiment:
    """The course of the constraints."""
    whole = table2()
    return Experiment(
        name="frl-v1-figure2",
        paper="frl-v1",
        table="figure2",
        shows="The largest violation of the constraints on the clean and the boundary error after each epoch of FRL.",
        source="Section 5, as table 2, whose runs it shares where both have the same --out; the picture has no numbers.",
        assumed=(
            *whole.assumed,
            "Violations are of validation images and relative to the average, as the text defines them here.",
            "Numbers of the table are means over the last fifth of the epochs.",
        ),
        rows=_debiased(),
        columns=(
            Column("largest violation, clean error", Violation("clean", begin=0.8), printed=False),
            Column("largest violation, boundary error", Violation("boundary", begin=0.8), printed=False),
        ),
        picture="curves",
    )


def figure3() -> Experiment:
    """The tail of the classes."""
    figures: dict[str, Figure] = {
        "average": "average",
        "worst class": "worst",
        "worst fifth": "worst-fifth",
        "deviation over classes": "deviation",
    }
    quantities: dict[str, Quantity] = {"clean": "clean", "adversarial": "robust"}
    return Experiment(
        name="frl-v1-figure3",
        paper="frl-v1",
        table="figure3",
        shows="Accuracy of the 43 classes of GTSRB in decreasing order, after natural and after adversarial training.",
        source="Appendix A.2, as table 5, whose runs it shares where both have the same --out; the picture has no numbers.",
        assumed=(SCHEDULE, *TRAFFIC, FEW_SIGNS, *EVALUATION, "Each curve is sorted on its own."),
        rows=tuple(Row(title, training) for title, training in _on_all_signs().items() if title != "TRADES"),
        columns=tuple(
            Column(f"{title} accuracy, {words}", Audited(of, figure, "pgd-20", threat=SIGNS), printed=False)
            for title, of in quantities.items()
            for words, figure in figures.items()
        ),
        picture="sorted",
    )


def figure4() -> Experiment:
    """The course of average and worst class."""
    return Experiment(
        name="frl-v1-figure4",
        paper="frl-v1",
        table="figure4",
        shows="Clean and robust accuracy, average and worst class, after each epoch of FRL.",
        source="Section 5, as table 2, whose runs it shares where both have the same --out; the picture has no numbers.",
        assumed=(
            *table2().assumed,
            "The curves are of validation images; of which images the paper's are is not said.",
            "Numbers of the table are means over the last fifth of the epochs.",
        ),
        rows=_debiased(),
        columns=(
            Column("clean accuracy, average", Followed("clean", "average", begin=0.8), printed=False),
            Column("clean accuracy, worst class", Followed("clean", "worst", begin=0.8), printed=False),
            Column("robust accuracy, average", Followed("robust", "average", begin=0.8), printed=False),
            Column("robust accuracy, worst class", Followed("robust", "worst", begin=0.8), printed=False),
        ),
        picture="curves",
    )


def _trained(problem: Problem) -> dict[str, Training]:
    """Natural, PGD and TRADES training by the names of the rows."""
    return {
        "natural training": problem.natural(),
        "PGD adversarial training": problem.pgd_at(),
        "TRADES": problem.trades(2),
    }


def _on_all_signs() -> dict[str, Training]:
    """The same of 43 classes. The smallest has 210 images, so that no 300 can be held out; nothing here is repaired."""
    return {
        title: Training(each.name, replace(each.config, split=Split())) for title, each in _trained(SIGNS43).items()
    }


def _methods(problem: Problem) -> tuple[Row, ...]:
    """The rows of tables 2 and 3."""
    start = problem.pgd_at()
    return (
        Row("PGD adversarial training", start),
        Row("TRADES beta=1", problem.trades(1)),
        Row("TRADES beta=2", problem.trades(2)),
        Row("baseline reweight", baseline_reweight(start)),
        *(Row(f"FRL {method}", repaired(start, method, SLACKS, frl.frl_v1())) for method in METHODS),
    )


def _debiased() -> tuple[Row, ...]:
    return tuple(row for row in _methods(CIFAR["ResNet18"]) if row.name.startswith("FRL "))


def _extremes(threat: ThreatModel) -> tuple[Column, ...]:
    """Average, worst and best class, clean and under PGD, in the order of tables 1 and 5."""
    shown: dict[str, tuple[Quantity, Figure]] = {
        "clean accuracy, average": ("clean", "average"),
        "adversarial accuracy, average": ("robust", "average"),
        "clean accuracy, worst class": ("clean", "worst"),
        "clean accuracy, best class": ("clean", "best"),
        "adversarial accuracy, worst class": ("robust", "worst"),
        "adversarial accuracy, best class": ("robust", "best"),
    }
    return tuple(Column(name, Audited(of, figure, "pgd-20", threat=threat)) for name, (of, figure) in shown.items())
