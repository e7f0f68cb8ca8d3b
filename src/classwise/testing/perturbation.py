"""The contract of weight perturbations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.models.modes import buffers_kept
from classwise.perturbation import Gradient, Perturbation
from classwise.testing.demand import BreachError, Demand, demand, raised, require
from classwise.testing.drive import difference
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import examine_contract
from classwise.testing.toys import images, network
from classwise.testing.untouched import gradients_kept, modes_kept, parts, tensors_kept

_EPOCHS = (0, 1, 20, 300)
_CLOSE = 1e-6  # float32 rounding of weights around 1
_STEP = 0.01
_RESTORE = (
    "put the weights back in a finally: clause, from copies or so that adding and taking away cancel exactly; what the step "
    "added to the weights must stay"
)


@dataclass(frozen=True)
class Subject:
    """A perturbation under examination."""

    perturbation: Perturbation

    def within(self, net: nn.Module, epoch: int, act: Callable[[], None] = lambda: None, still: bool = False) -> None:
        """Enter the context, do something in it, leave it; ``still``: the gradient is 0."""
        with seeded(0), self.perturbation(net, _gradient_of(net, still), epoch):
            act()


@demand(
    "runs",
    expected="perturbation(model, gradient, epoch) gives a context manager, in every epoch",
    mend="write __call__ with @contextmanager and one yield, or return contextlib.nullcontext()",
)
def runs(subject: Subject) -> None:
    """Whether a step can be taken in it."""
    for epoch in _EPOCHS:
        net = _network()
        subject.within(net, epoch)


@demand(
    "restores-weights",
    expected="where the step changes nothing, weights and buffers are the same bit for bit when the context ends",
    mend=_RESTORE,
    after=("runs",),
)
def restores_weights(subject: Subject) -> None:
    """Whether the perturbation leaves something behind."""
    for epoch in _EPOCHS:
        for still in (False, True):
            net = _network()
            words = f"in epoch {epoch}{', with a gradient of 0,' if still else ''} it"
            with tensors_kept(words, parts(net), mend=_RESTORE):
                subject.within(net, epoch, still=still)


@demand(
    "keeps-the-step",
    expected="what the step adds to the weights within the context is there afterwards",
    mend="take away what the perturbation added, in place of copying back the old weights",
    after=("restores-weights",),
)
def keeps_the_step(subject: Subject) -> None:
    """Whether the step is lost."""
    for epoch in _EPOCHS:
        net = _network()
        expected = {name: each.detach() + _STEP for name, each in net.named_parameters()}

        def step(net: nn.Module = net) -> None:
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(_STEP)

        subject.within(net, epoch, step)
        text = difference(expected, {name: each.detach() for name, each in net.named_parameters()}, _CLOSE)
        require(not text, f"in epoch {epoch} a step of {_STEP} for every weight did not arrive: {text}")


@demand(
    "restores-after-an-error",
    expected="an error within the context goes through, and the weights are restored all the same",
    mend=_RESTORE,
    after=("restores-weights",),
)
def restores_after_an_error(subject: Subject) -> None:
    """Whether an interrupted step leaves perturbed weights."""

    def fail() -> None:
        raise _StepError

    for epoch in _EPOCHS:
        net = _network()
        with tensors_kept(f"in epoch {epoch}, after an error, it", parts(net), mend=_RESTORE):
            try:
                subject.within(net, epoch, fail)
            except _StepError:
                continue
            raise BreachError(f"in epoch {epoch} an error within the context was swallowed", "let errors through")


@demand(
    "leaves-the-rest-alone",
    expected="parameters stay the same objects, their gradients and the modules' modes stay as they are, frozen ones too",
    mend="change weights in place under no_grad, and ask the gradient function for those that require a gradient",
    after=("runs",),
)
def leaves_the_rest_alone(subject: Subject) -> None:
    """Whether an optimiser would lose the parameters, or their gradients."""
    for epoch in _EPOCHS:
        net = _network()
        net[4].bias.requires_grad_(False)
        before = [id(parameter) for parameter in net.parameters()]
        with gradients_kept("it", net), modes_kept("it", net):
            try:
                subject.within(net, epoch)
            except BreachError:
                raise
            except Exception as error:
                raise BreachError(f"where a bias is frozen it raised {raised(error)}") from error
        same = before == [id(parameter) for parameter in net.parameters()]
        require(same, f"in epoch {epoch} the network has other parameters afterwards", "change them in place")


@demand(
    "repeatable",
    expected="the same weights and gradients give the same perturbation: no randomness, and no memory",
    mend=MEND,
    after=("runs",),
)
def repeatable(subject: Subject) -> None:
    """Whether two equal steps are taken at two places."""

    def inside(epoch: int) -> dict[str, Tensor]:
        net, seen = _network(), {}

        def look() -> None:
            seen.update({name: each.detach().clone() for name, each in net.named_parameters()})

        with subject.perturbation(net, _gradient_of(net), epoch):
            look()
        return seen

    for epoch in _EPOCHS:
        first = undrawn("it", lambda epoch=epoch: inside(epoch))  # type: ignore[misc]
        with seeded(1):
            text = difference(first, inside(epoch))
        require(not text, f"in epoch {epoch}, used twice at the same weights, it moved them to {text}")


DEMANDS: tuple[Demand[Subject], ...] = (
    runs,
    restores_weights,
    keeps_the_step,
    restores_after_an_error,
    leaves_the_rest_alone,
    repeatable,
)
"""Demands on a perturbation, beyond those on every component."""


def check_perturbation(perturbation: Perturbation | type[Perturbation] | str) -> tuple[Finding, ...]:
    """Check a weight perturbation against its contract, on a small network.

    Args:
        perturbation: A perturbation, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no perturbation, or cannot be made without arguments.
    """
    subject = made(perturbation, "perturbation")
    return examine_contract(subject, Subject(subject), DEMANDS)


class _StepError(Exception):
    """An error of the step, on purpose."""


def _network() -> nn.Sequential:
    net = network(4).float().train()
    assert isinstance(net, nn.Sequential)
    return net


def _gradient_of(net: nn.Module, still: bool = False) -> Gradient:
    """The loop's gradient function: of the cross-entropy of a batch, in train mode, running statistics kept."""
    x, y = images(8, 4)

    def gradient(weights: Sequence[nn.Parameter]) -> list[Tensor]:
        if still:
            return [torch.zeros_like(weight) for weight in weights]
        with buffers_kept(net), torch.enable_grad():
            loss = F.cross_entropy(net(x.float()), y)
            found = torch.autograd.grad(loss, list(weights), allow_unused=True)
        return [torch.zeros_like(w) if each is None else each for w, each in zip(weights, found, strict=True)]

    return gradient
