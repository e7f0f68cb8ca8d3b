"""The contract of attacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from classwise.attacks import Attack, Inner, Rows, Stepwise
from classwise.attacks.stepwise import first_rows, stepped
from classwise.configuration import replace
from classwise.randomness import KeyedNoise, Noise
from classwise.testing import device
from classwise.testing.demand import BreachError, Demand, demand, raised, require
from classwise.testing.drive import difference
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import examine_contract
from classwise.testing.toys import images, network
from classwise.testing.untouched import gradients_kept, modes_kept, parts, tensors_kept
from classwise.threat import ThreatModel, l1, l2, linf

KNOWN_KNOBS = ("radius", "step", "steps")
LENGTH = 5
"""Steps and queries that an attack is cut to, so that checking takes seconds."""

_THREATS = (linf("0.1"), l2("0.3"), l1("1"))
_N, _CLASSES = 12, 4
_ROUNDING = 1e-6  # what the base class allows for
_CLOSE = 1e-7  # float64 in batches of another size


@dataclass(frozen=True)
class Subject:
    """An attack under examination, and the images it is tried on."""

    attack: Attack

    @cached_property
    def short(self) -> Attack:
        """The attack with at most 5 steps or queries."""
        for name in ("steps", "queries"):
            if isinstance(getattr(self.attack, name, None), int) and getattr(self.attack, name) > LENGTH:
                return replace(self.attack, **{name: LENGTH})
        return self.attack

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor]:
        """Images and labels."""
        return images(_N, _CLASSES, seed=2)

    @cached_property
    def threats(self) -> list[ThreatModel]:
        """The threat models it knows.

        Raises:
            BreachError: There is none, or one is refused without a ValueError.
        """
        known, refusals = [], []
        for threat in _THREATS:
            try:
                self.run(threat)
                known.append(threat)
            except BreachError:
                raise
            except ValueError as error:  # a norm that it is not made for
                refusals.append(raised(error))
            except Exception as error:
                raise BreachError(f"at {threat} it raised {raised(error)}") from error
        require(bool(known), f"it refuses every norm: {'; '.join(refusals)}")
        return known

    def run(
        self,
        threat: ThreatModel,
        model: Any = None,
        rows: slice | Tensor = slice(None),
        noise: Noise | None = None,
        **settings: Any,
    ) -> Tensor:
        """What it makes of some of the images, with the global generators at a fixed seed."""
        x, y = (each[rows] for each in self.batch)
        noise = noise or KeyedNoise(0, torch.arange(_N)[rows], 1)
        with seeded(0):
            return self.short(model or network(_CLASSES), x, y, threat=threat, noise=noise, **settings)


@demand(
    "declarations",
    expected="heeds is of 'radius', 'step' and 'steps', at_epoch(epoch) gives an attack, forwards() a number of at least 1",
    mend="",
)
def declarations(subject: Subject) -> None:
    """Whether what the attack says of itself is something the loop understands."""
    attack = subject.attack
    require(not isinstance(attack.heeds, str), f"heeds is the text {attack.heeds!r}", "write a frozenset of knobs")
    unknown = sorted(set(attack.heeds) - set(KNOWN_KNOBS))
    require(not unknown, f"heeds names {', '.join(unknown)}", f"name knobs among {', '.join(KNOWN_KNOBS)}")
    for epoch in (0, 1, 100):
        later = attack.at_epoch(epoch)
        require(
            isinstance(later, Attack), f"at_epoch({epoch}) gives a {type(later).__name__}", "return an attack, or self"
        )
    passes = attack.forwards()
    require(
        isinstance(passes, int) and passes >= 1,
        f"forwards() gives {passes!r}",
        "return how many gradients one call takes",
    )
    if isinstance(attack, Stepwise):
        numbers = (attack.tasks(_CLASSES), attack.length())
        right = all(isinstance(each, int) and each >= 1 for each in numbers)
        require(right, f"tasks(4) and length() give {numbers}", "return whole numbers of at least 1")


@demand(
    "runs",
    expected="it perturbs images in the norms it knows, and refuses others with a ValueError; the result has the shape and "
    "type of the images, no gradient and finite values",
    mend="let run return perturbed images (N, …) of x's shape and dtype",
)
def runs(subject: Subject) -> None:
    """Whether it gives images at all."""
    x, y = subject.batch
    for threat in subject.threats:
        _require_images(subject.run(threat), x, f"at {threat}")
        narrow = Subject(subject.attack)
        narrow.__dict__["batch"] = (x.float(), y)
        _require_images(narrow.run(threat, network(_CLASSES).float()), x.float(), f"at {threat}")


@demand(
    "inside",
    expected="every image stays within its own radius and within [0, 1], and is the original where the radius is 0",
    mend="write run(…) and leave __call__ to the base class, which projects what run returns",
    after=("runs",),
)
def inside(subject: Subject) -> None:
    """Whether images leave the ball or the box."""
    x, _ = subject.batch
    for threat in subject.threats:
        radius = torch.linspace(0, 2 * float(threat.radius), _N, dtype=x.dtype)
        x_adv = subject.run(threat, radius=radius)
        far = threat.distance(x_adv, x) - radius
        which = int(far.argmax())
        seen = f"at {threat} an image with radius {float(radius[which]):.4g} went {float(far[which]):.3g} too far"
        require(float(far.max()) <= _ROUNDING, seen)
        low, high = float(x_adv.min()), float(x_adv.max())
        require(low >= 0 and high <= 1, f"at {threat} values run from {low:.4g} to {high:.4g}")
        require(torch.equal(x_adv[0], x[0]), f"at {threat} an image whose radius is 0 was changed")


@demand(
    "any-model",
    expected="it attacks functions as well as modules, also under no_grad, for any inner problem, and where no gradient is",
    mend="take gradients under torch.enable_grad() with torch.autograd.grad, and divide by lengths that cannot be 0",
    after=("runs",),
)
def any_model(subject: Subject) -> None:
    """Whether it depends on what the tries so far had in common."""
    x, _ = subject.batch
    net = network(_CLASSES)
    reference = torch.randn(_N, _CLASSES, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    inners = (
        Inner(loss="kl", start="gauss"),
        Inner(loss="kl", start="uniform", reference=reference),
        Inner(loss="cross-entropy", start="none"),
    )
    for threat in subject.threats:
        usual = subject.run(threat, net)
        plain = subject.run(threat, lambda images: net(images))  # a function has no mode
        text = difference(usual, plain, _CLOSE) if subject.attack.bn_mode == "eval" else ""
        require(not text, f"at {threat} a function gives another result than the same module: {text}")
        with torch.no_grad():
            text = difference(usual, subject.run(threat, net), _CLOSE)
        require(not text, f"at {threat} under no_grad the result is another: {text}")
        for inner in inners:
            what = f"at {threat} with the inner problem {inner.loss} from {inner.start}"
            _require_images(subject.run(threat, net, inner=inner), x, what)
        flat = subject.run(threat, lambda images: 0 * images.flatten(1)[:, :_CLASSES] + reference)
        _require_images(flat, x, f"at {threat} against a model whose gradient is 0 everywhere")


@demand(
    "leaves-the-model-alone",
    expected="parameters, their gradients, running statistics (where bn_mode is 'eval') and every module's mode stay as they "
    "are, also where the model raises an error; so do images and labels",
    mend="ask torch.autograd.grad for the gradient of the images only; leave modes to the base class",
    after=("runs",),
)
def leaves_the_model_alone(subject: Subject) -> None:
    """Whether the network or the batch is another one afterwards."""
    x, y = subject.batch
    for threat in subject.threats[:1]:
        net = network(_CLASSES)
        still = parts(net) if subject.attack.bn_mode == "eval" else dict(net.named_parameters())
        named = {f"the network's {name}": each for name, each in still.items()} | {"x": x, "y": y}
        with tensors_kept("it", named), gradients_kept("it", net), modes_kept("it", net):
            subject.run(threat, net)
        require(x.grad is None and not x.requires_grad, "x requires a gradient afterwards", "use x.detach() and a copy")
        _check_failing(subject, threat)


@demand(
    "repeatable",
    expected="the same noise gives the same images, and other generators are left alone",
    mend=MEND,
    after=("runs",),
)
def repeatable(subject: Subject) -> None:
    """Whether it draws random numbers of its own, or remembers."""
    for threat in subject.threats:
        first = undrawn("it", lambda threat=threat: _plain_run(subject, threat))  # type: ignore[misc]
        with seeded(1):
            text = difference(first, _plain_run(subject, threat))
        require(not text, f"at {threat}, run twice with the same noise, it gave {text}")


@demand(
    "per-sample",
    expected="with the network in eval mode a sample's image does not depend on the rest of the batch",
    mend="take the gradient of the summed loss, and no maximum, mean or sorting over the batch; draw noise for every sample",
    after=("repeatable", "inside"),
)
def per_sample(subject: Subject) -> None:
    """Whether the company of a sample matters."""
    if subject.attack.bn_mode == "train":
        return
    for threat in subject.threats:
        whole = subject.run(threat)
        order = torch.randperm(_N, generator=torch.Generator().manual_seed(5))
        for rows in (order[:5], order[5:], order[:1]):
            text = difference(whole[rows], subject.run(threat, rows=rows), _CLOSE)
            require(
                not text, f"at {threat}, in a batch of {len(rows)} of the {_N} samples, an image is another: {text}"
            )


@demand(
    "heeds",
    expected="heeds names the knobs that change what the attack does, and no others",
    mend="",
    after=("repeatable",),
)
def heeds_what_it_says(subject: Subject) -> None:
    """Whether knobs act as announced."""
    threat = subject.threats[0]
    tenth = torch.full((_N,), 0.1, dtype=torch.float64)
    turned: dict[str, dict[str, Any]] = {
        "radius": {"radius": tenth * float(threat.radius)},
        "step": {"step_scale": tenth},
        "steps": {"steps_scale": tenth},
    }
    usual = subject.run(threat)
    for name, settings in turned.items():
        if name == "steps" and subject.short.forwards() == 1:
            continue  # a single step cannot become fewer
        acts = bool(difference(usual, subject.run(threat, **settings)))
        announced = name in subject.attack.heeds
        require(
            acts or not announced, f"a tenth of the {name} changes nothing", f"use it, or take {name!r} out of heeds"
        )
        require(announced or not acts, f"a tenth of the {name} changes the images", f"add {name!r} to heeds")


@demand(
    "rows",
    expected="begin and step of a Stepwise attack give new rows, depend on nothing but each row, and leave the old ones alone",
    mend="use dataclasses.replace(rows, …) with new tensors, and keep what a row remembers in rows.memory, first axis rows",
    after=("per-sample",),
)
def rows_alone(subject: Subject) -> None:
    """Whether an audit may pack rows of a stepwise attack anew after every step."""
    attack = subject.short
    if not isinstance(attack, Stepwise):
        return
    for threat in subject.threats:
        net, order = network(_CLASSES), torch.randperm(_N, generator=torch.Generator().manual_seed(5))
        whole, part = (_begun(subject, attack, net, threat, rows) for rows in (torch.arange(_N), order[:5]))
        for step in range(3):
            before = {f"rows.{name}": each for name, each in vars(whole).items() if isinstance(each, Tensor)}
            before |= {f"rows.memory[{name!r}]": each for name, each in whole.memory.items()}
            with tensors_kept("step", before):
                after = stepped(attack.step(net, threat, whole, KeyedNoise(0, torch.arange(_N), 1, step)))
            part = stepped(attack.step(net, threat, part, KeyedNoise(0, order[:5], 1, step)))
            text = difference(after.take(order[:5]).best, part.best, _CLOSE)
            require(not text, f"at {threat}, among other rows, a row came out otherwise: {text}")
            whole = after


@demand(
    "stays-on-the-device",
    expected="it computes where the images are, and reads no value of a tensor back, for which a training step would wait",
    mend=device.MEND,
    after=("runs",),
)
def stays_on_the_device(subject: Subject) -> None:
    """Whether a step would mix devices, or wait for one."""
    x, y = (each.to(device.DEVICE) for each in subject.batch)
    net = network(_CLASSES).to(device.DEVICE)
    for threat in subject.threats:

        def run(threat: ThreatModel = threat) -> Tensor:
            return subject.short(net, x, y, threat=threat, noise=_Valueless())

        device.stays(f"at {threat} ", run)


DEMANDS: tuple[Demand[Subject], ...] = (
    declarations,
    runs,
    inside,
    any_model,
    leaves_the_model_alone,
    repeatable,
    per_sample,
    heeds_what_it_says,
    rows_alone,
    stays_on_the_device,
)
"""Demands on an attack, beyond those on every component."""


def check_attack(attack: Attack | type[Attack] | str) -> tuple[Finding, ...]:
    """Check an attack against its contract, on a small network and small images.

    A field ``steps`` or ``queries`` above 5 is taken as 5.

    Args:
        attack: An attack, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no attack, or cannot be made without arguments.
    """
    subject = made(attack, "attack")
    return examine_contract(subject, Subject(subject), DEMANDS)


class _Valueless:
    """Noise without values."""

    def uniform(self, like: Tensor) -> Tensor:
        return torch.empty_like(like)

    def normal(self, like: Tensor) -> Tensor:
        return torch.empty_like(like)


class _FailingError(Exception):
    """An error of the model, on purpose."""


class _Failing(nn.Module):
    """A network that fails when it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = network(_CLASSES), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        raise _FailingError


def _check_failing(subject: Subject, threat: ThreatModel) -> None:
    net = _Failing()
    with modes_kept("after an error of the model it", net):
        try:
            subject.run(threat, net)
        except _FailingError:
            return
    require(net.calls == 0, "an error of the model was swallowed", "let errors of the model through")


def _plain_run(subject: Subject, threat: ThreatModel) -> Tensor:
    x, y = subject.batch
    return subject.short(network(_CLASSES), x, y, threat=threat, noise=KeyedNoise(0, torch.arange(_N), 1))


def _begun(subject: Subject, attack: Stepwise, net: nn.Module, threat: ThreatModel, rows: Tensor) -> Rows:
    x, y = (each[rows] for each in subject.batch)
    radius = torch.full((len(y),), float(threat.radius), dtype=x.dtype)
    return attack.begin(net, threat, first_rows(x, y, radius, torch.zeros_like(y)), KeyedNoise(0, rows, 1))


def _require_images(x_adv: Any, x: Tensor, when: str) -> None:
    require(isinstance(x_adv, Tensor), f"{when} it gave a {type(x_adv).__name__}")
    same = x_adv.shape == x.shape and x_adv.dtype == x.dtype
    require(
        same,
        f"{when} it gave shape {tuple(x_adv.shape)} of {x_adv.dtype} for images of shape {tuple(x.shape)} and {x.dtype}",
    )
    require(not x_adv.requires_grad, f"{when} the result requires a gradient")
    require(
        bool(x_adv.isfinite().all()),
        f"{when} the result is not finite",
        "add a small number to what is divided by, and use nan_to_num on gradients",
    )
