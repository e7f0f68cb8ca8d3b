"""The contract of objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import torch
from torch import Tensor

from classwise.attacks.base import Inner, Start
from classwise.attacks.losses import AttackLoss
from classwise.objectives import Objective, Outputs, SampleInfo
from classwise.policies import KNOBS
from classwise.testing import device
from classwise.testing.cases import Case, Heeded
from classwise.testing.demand import BreachError, Demand, demand, raised, require
from classwise.testing.drive import difference
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import examine_contract
from classwise.testing.untouched import gradients_kept, modes_kept, tensors_kept

_CLASSES = (2, 10)
_SIZES = (12, 1)
_CLOSE = 1e-9  # float64 sums in another order


@dataclass(frozen=True)
class Subject:
    """An objective under examination."""

    objective: Objective

    def case(self, classes: int = 10, n: int = 12, seed: int = 0) -> Case:
        """A case for it."""
        return Case.of(self.objective, classes, n, seed)

    def outputs(self, case: Case, x_adv: Tensor | None = None) -> Outputs:
        """What it computes of a case, with the global generators at a fixed seed."""
        with seeded(0):
            return self.objective(case.net, case.x, case.x_adv if x_adv is None else x_adv, case.y, case.info)

    @cached_property
    def all(self) -> list[tuple[str, Case, Outputs]]:
        """Its outputs for 2 and 10 classes, 12 samples and one, the network in train and in eval mode."""
        found = []
        for classes in _CLASSES:
            for n in _SIZES:
                for training in (True, False):
                    case = self.case(classes, n)
                    case.net.train(training)
                    words = f"with {classes} classes, a batch of {n} and the network in {'train' if training else 'eval'} mode"
                    try:
                        found.append((words, case, self.outputs(case)))
                    except BreachError:
                        raise
                    except Exception as error:
                        raise BreachError(f"{words} it raised {raised(error)}") from error
        return found


@demand(
    "declarations",
    expected="term_names has 'label' and at most 'robust', computes is of 'clean' and 'adversarial', heeds names knobs, and "
    "inner is an Inner with a known loss and start",
    mend="",
)
def declarations(subject: Subject) -> None:
    """Whether what the objective says of itself is something the loop understands."""
    objective = subject.objective
    terms, inner = objective.term_names, objective.inner
    require(
        "label" in terms and set(terms) <= {"label", "robust"},
        f"term_names is {terms!r}",
        "call the loss on the label 'label', and what holds perturbed predictions to clean ones 'robust'",
    )
    computes = set(objective.computes)
    require(
        bool(computes) and computes <= {"clean", "adversarial"},
        f"computes is {sorted(computes)}",
        "name the logits that a step yields: frozenset({'adversarial'}), say",
    )
    require(
        not isinstance(objective.heeds, str), f"heeds is the text {objective.heeds!r}", "write a frozenset of knobs"
    )
    unknown = sorted(set(objective.heeds) - KNOBS.keys())
    require(not unknown, f"heeds names {', '.join(unknown)}", f"name knobs among {', '.join(KNOBS)}")
    fits = isinstance(inner, Inner) and inner.loss in get_args(AttackLoss) and inner.start in get_args(Start)
    losses, starts = ", ".join(get_args(AttackLoss)), ", ".join(get_args(Start))
    require(
        fits,
        f"inner is {inner!r}",
        f"give Inner(loss=…, start=…) with a loss among {losses} and a start among {starts}",
    )
    for what in ("attacked", "taught"):
        value = getattr(objective, what)
        require(isinstance(value, bool), f"{what} is {value!r}", f"set {what} = True or False")


@demand(
    "runs",
    expected="it gives Outputs for 2 and 10 classes, for a batch and a single sample, in train and in eval mode, from exactly "
    "what the loop tells it: the heeded knobs, and a teacher's logits where taught is true",
    mend="make it work for any N and K; set taught = True where it needs info.teacher",
    after=("declarations",),
)
def runs(subject: Subject) -> None:
    """Whether it computes anything at all."""
    for words, _, outputs in subject.all:
        fits = isinstance(outputs, Outputs) and isinstance(outputs.terms, Mapping)
        require(fits, f"{words} it gave a {type(outputs).__name__}", "return Outputs({'label': …}, adversarial=logits)")


@demand(
    "terms",
    expected="every term has one finite value per sample, shape (N,), and the penalty, where there is one, is a finite scalar",
    mend="leave terms unreduced: reduction='none', no mean() and no sum() over the batch",
    after=("runs",),
)
def terms_fit(subject: Subject) -> None:
    """Whether the loop can weigh the terms."""
    for words, case, outputs in subject.all:
        for name, term in outputs.terms.items():
            shape = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
            require(shape == (len(case.y),), f"{words} the term {name!r} has shape {shape} instead of ({len(case.y)},)")
            finite = bool(term.isfinite().all())
            require(
                finite, f"{words} the term {name!r} is not finite", "use log_softmax, and clamp what a log is taken of"
            )
        if outputs.penalty is not None:
            shape = (
                tuple(outputs.penalty.shape) if isinstance(outputs.penalty, Tensor) else type(outputs.penalty).__name__
            )
            require(shape == (), f"{words} the penalty has shape {shape}", "give the penalty as a scalar tensor")
            require(
                bool(outputs.penalty.isfinite()),
                f"{words} the penalty is {float(outputs.penalty.detach())}",
                "decide what it is for a batch with one sample or one class, such as 0",
            )


@demand(
    "announced",
    expected="terms, logits and the need of perturbed images are those that term_names, computes and attacked announce",
    mend="",
    after=("terms",),
)
def announced(subject: Subject) -> None:
    """Whether it yields what it promises, since policies rely on that before the first batch."""
    objective = subject.objective
    for words, case, outputs in subject.all:
        require(
            set(outputs.terms) == set(objective.term_names),
            f"{words} the terms are {', '.join(outputs.terms)}, announced are {', '.join(objective.term_names)}",
            f"set term_names = {tuple(outputs.terms)!r}",
        )
        for name in ("clean", "adversarial"):
            logits = getattr(outputs, name)
            there, promised = logits is not None, name in objective.computes
            require(
                there == promised,
                f"{words} Outputs has {'' if there else 'no '}{name} logits, computes says {sorted(objective.computes)}",
                "set computes to the logits that are given, and give all that are named",
            )
            shape = (len(case.y), case.info.groups)
            require(
                not there or tuple(logits.shape) == shape,
                f"{words} the {name} logits have shape {tuple(logits.shape) if there else ()} instead of {shape}",
                "give the logits of the model, (N, K)",
            )
    case = subject.case()
    other = 1 - case.x_adv
    usual, changed = (_values(subject.outputs(case, x_adv)) for x_adv in (None, other))
    moved = bool(difference(usual, changed))
    if objective.attacked:
        require(moved, "other perturbed images change nothing", "set attacked = False, which saves the attack")
    else:
        require(not moved, "it uses the perturbed images", "leave attacked at True, or use x in place of x_adv")


@demand(
    "differentiable",
    expected="every term has a finite gradient with respect to the network's parameters, and so has the penalty",
    mend="compute the terms from the model's logits with differentiable operations, without detach() and no_grad()",
    after=("terms",),
)
def differentiable(subject: Subject) -> None:
    """Whether a step could lower it."""
    for name in (*subject.all[0][2].terms, "penalty"):
        case = subject.case()
        with torch.enable_grad():
            outputs = subject.outputs(case)
            value = outputs.penalty if name == "penalty" else outputs.terms[name].sum()
            if value is None:
                continue
            require(value.requires_grad, f"{name!r} has no gradient")
            found = torch.autograd.grad(value, list(case.net.parameters()), allow_unused=True)
        there = [each for each in found if each is not None]
        require(bool(there), f"{name!r} does not depend on the network")
        require(
            all(bool(each.isfinite().all()) for each in there),
            f"the gradient of {name!r} is not finite",
            "clamp inside roots, logarithms and divisions, also on the branch that torch.where does not take",
        )


@demand(
    "heeds",
    expected="each knob that heeds names changes what is computed",
    mend="read info.knobs[name], (N,), or take the name out of heeds: else a policy that sets it does nothing",
    after=("terms",),
)
def heeds_what_it_says(subject: Subject) -> None:
    """Whether a knob that is announced matters."""
    case = subject.case()
    usual = [*_values(subject.outputs(case)), subject.objective.reference(case.info)]
    for name in sorted(subject.objective.heeds):
        knobs = Heeded({**case.info.knobs, name: 2 * case.info.knobs[name]})
        info = SampleInfo(case.info.group, case.info.groups, knobs, case.info.teacher)
        turned = Case(case.net, case.x, case.x_adv, case.y, info)
        changed = [*_values(subject.outputs(turned)), subject.objective.reference(info)]
        require(bool(difference(usual, changed)), f"another {name} changes nothing")


@demand(
    "reference",
    expected="reference(info) gives None or logits (N, K) that a matched adversary moves away from, without a gradient",
    mend="return None, or what the teacher's logits become; a reference needs inner = Inner(loss='kl', …)",
    after=("runs",),
)
def reference_fits(subject: Subject) -> None:
    """Whether an adversary could use the reference."""
    case = subject.case()
    logits = subject.objective.reference(case.info)
    if logits is not None:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        require(shape == (12, 10), f"it has shape {shape} for 12 samples and 10 classes")
        require(
            subject.objective.inner.loss == "kl",
            f"there is one, and the inner loss is {subject.objective.inner.loss!r}",
        )
        require(not logits.requires_grad, "it requires a gradient")


@demand(
    "keeps-its-inputs",
    expected="images, labels and info, the network's parameters, gradients and modes stay as they are",
    mend="work on copies, and leave backward() and train()/eval() to the loop",
    after=("runs",),
)
def keeps_its_inputs(subject: Subject) -> None:
    """Whether it writes into what it is handed."""
    case = subject.case()
    parameters = {f"the network's {name}": each for name, each in case.net.named_parameters()}
    with (
        tensors_kept("it", case.tensors() | parameters),
        gradients_kept("it", case.net),
        modes_kept("it", case.net),
    ):
        subject.outputs(case)


@demand(
    "repeatable",
    expected="the same batch gives the same terms: an objective draws no random numbers and remembers nothing",
    mend=MEND,
    after=("terms",),
)
def repeatable(subject: Subject) -> None:
    """Whether it draws random numbers, or remembers."""
    case = subject.case()
    first = undrawn("it", lambda: _values(subject.objective(case.net, case.x, case.x_adv, case.y, case.info)))
    with seeded(1):
        again = _values(subject.objective(case.net, case.x, case.x_adv, case.y, case.info))
    text = difference(first, again)
    require(not text, f"computed twice it gave {text}")


@demand(
    "per-sample",
    expected="the terms of a permuted batch are the permuted terms, and the penalty is the same (network in eval mode)",
    mend="let a sample's term depend on nothing but this sample; what concerns the batch is a penalty",
    after=("repeatable",),
)
def per_sample(subject: Subject) -> None:
    """Whether the order of a batch matters."""
    case = subject.case()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    usual, mixed = subject.outputs(case), subject.outputs(case.rows(order))
    for name, term in usual.terms.items():
        text = difference(term[order], mixed.terms[name], _CLOSE)
        require(not text, f"in another order the term {name!r} is not the same: {text}")
    text = difference(usual.penalty, mixed.penalty, _CLOSE)
    require(not text, f"in another order the penalty is not the same: {text}")
    half = subject.outputs(case.rows(torch.arange(6)))
    for name, term in usual.terms.items():
        text = difference(term[:6], half.terms[name], _CLOSE)
        require(not text, f"without the other half of the batch the term {name!r} is not the same: {text}")


@demand(
    "half-precision",
    expected="terms are float32 or wider also where the network computes in bfloat16",
    mend="take logits through classwise.attacks.losses.widen before anything is computed of them",
    after=("terms",),
)
def half_precision(subject: Subject) -> None:
    """Whether losses lose digits under autocast."""
    case = subject.case()
    net = case.net.bfloat16()

    def coarse(x: Tensor) -> Tensor:
        logits: Tensor = net(x.bfloat16())
        return logits

    outputs = subject.objective(coarse, case.x, case.x_adv, case.y, case.info)
    for name, term in outputs.terms.items():
        require(term.element_size() >= 4, f"the term {name!r} is {str(term.dtype).removeprefix('torch.')}")


@demand(
    "stays-on-the-device",
    expected="it computes where the images are, and reads no value of a tensor back",
    mend=device.MEND,
    after=("runs",),
)
def stays_on_the_device(subject: Subject) -> None:
    """Whether a step would mix devices, or wait for one."""
    case = subject.case().on(device.DEVICE)
    device.stays("", lambda: (subject.outputs(case), subject.objective.reference(case.info)))


DEMANDS: tuple[Demand[Subject], ...] = (
    declarations,
    runs,
    terms_fit,
    announced,
    differentiable,
    heeds_what_it_says,
    reference_fits,
    keeps_its_inputs,
    repeatable,
    per_sample,
    half_precision,
    stays_on_the_device,
)
"""Demands on an objective, beyond those on every component."""


def check_objective(objective: Objective | type[Objective] | str) -> tuple[Finding, ...]:
    """Check an objective against its contract, on a small network and small images; nothing is trained.

    Args:
        objective: An objective, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no objective, or cannot be made without arguments.
    """
    subject = made(objective, "objective")
    return examine_contract(subject, Subject(subject), DEMANDS)


def _values(outputs: Outputs) -> list[Any]:
    return [dict(outputs.terms), outputs.penalty, outputs.clean, outputs.adversarial]
