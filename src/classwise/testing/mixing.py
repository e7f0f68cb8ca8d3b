"""The contract of mixing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from classwise.data import ClassData
from classwise.data.augmentation import NoAugmentation
from classwise.data.loader import Batch
from classwise.data.resident import Resident
from classwise.mixing import Mixing
from classwise.randomness import GeneratorNoise
from classwise.testing import device
from classwise.testing.demand import BreachError, Demand, demand, raised, require
from classwise.testing.drive import difference
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import examine_contract
from classwise.testing.toys import images
from classwise.testing.untouched import tensors_kept

_KEPT = ("y", "group", "index", "total", "rows")

Mixed = tuple[Batch, Batch, Tensor]
"""The batch after ``before``, and the batch and the perturbed images after ``after``."""


@dataclass(frozen=True)
class Subject:
    """Mixing under examination."""

    mixing: Mixing

    @cached_property
    def data(self) -> ClassData:
        """Training images; the last class has one, groups are not labels."""
        x, y = images(41, 4)
        y[-1] = 4
        names, index = tuple("abcde"), torch.arange(41).flip(0)
        return ClassData(x.float(), y, names, index=index, groups=y % 2, group_names=("even", "odd"))

    @cached_property
    def source(self) -> Resident:
        """The training set of these images."""
        return Resident(self.data, NoAugmentation(), torch.device("cpu"))

    @cached_property
    def batches(self) -> dict[str, Batch]:
        """Batches as the loop makes them: usual ones, of one image, and one process's share."""
        order = torch.randperm(41, generator=torch.Generator().manual_seed(1))
        order = torch.cat([order[order == 40], order[order != 40]])  # the image without a partner is among them
        return {
            "a batch": self._batch(order[:12]),
            "a batch of one image": self._batch(order[:1]),
            "one process's share of a batch": self._batch(order[:12], slice(0, None, 2)),
        }

    def _batch(self, rows: Tensor, share: slice = slice(None)) -> Batch:
        data = self.data.subset(rows[share])
        assert isinstance(data.images, Tensor)
        return Batch(data.images, data.labels, data.groups, data.index, len(rows), share)

    def mixed(self, batch: Batch, seed: int = 0) -> Mixed:
        """What the hooks make of a batch whose images are perturbed in between."""
        noise = GeneratorNoise(torch.Generator().manual_seed(seed), batch.total, batch.rows)
        first = self.mixing.before(batch, self.source, noise)
        require(isinstance(first, Batch), f"before gave a {type(first).__name__}", "return batch.with_images(…)")
        second = self.mixing.after(first, _perturbed(first), noise)
        pair = isinstance(second, tuple) and len(second) == 2
        right = pair and isinstance(second[0], Batch) and isinstance(second[1], Tensor)
        require(right, f"after gave a {type(second).__name__}", "return (batch, x_adv)")
        return (first, *second)

    @cached_property
    def all(self) -> dict[str, Mixed]:
        """What it makes of each of the batches."""
        found = {}
        for what, batch in self.batches.items():
            try:
                with seeded(0):
                    found[what] = self.mixed(batch)
            except BreachError:
                raise
            except Exception as error:
                raise BreachError(f"with {what} it raised {raised(error)}") from error
        return found


@demand(
    "declarations",
    expected="refusal(attacked) answers with a sentence or '', and '' for at least one of attacked and not attacked",
    mend="return '' where nothing speaks against it",
)
def declarations(subject: Subject) -> None:
    """Whether it can be used with any objective."""
    answers = [subject.mixing.refusal(attacked) for attacked in (True, False)]
    require(all(isinstance(each, str) for each in answers), f"it gives {answers!r}")
    require(not all(answers), f"it refuses every objective: {'; '.join(answers)}")


@demand(
    "runs",
    expected="before gives a batch, and after a batch and perturbed images, for batches of any size and for a process's share",
    mend="draw noise shaped like the batch, one row per image: noise.uniform(batch.x[:, 0, 0, :1]) gives (N, 1), say",
)
def runs(subject: Subject) -> None:
    """Whether it gives batches at all."""
    _ = subject.all


@demand(
    "labels-stay",
    expected="labels, groups, indices and the place in the whole batch stay as they are; only images are replaced",
    mend="use batch.with_images(…), and mix with images of the same label only",
    after=("runs",),
)
def labels_stay(subject: Subject) -> None:
    """Whether it changes anything but images."""
    for what, (first, second, _) in subject.all.items():
        batch = subject.batches[what]
        for name in _KEPT:
            for hook, after in (("before", first), ("after", second)):
                text = difference(getattr(batch, name), getattr(after, name))
                require(not text, f"with {what} {hook} changed batch.{name}: {text}")


@demand(
    "images",
    expected="images keep their shape and type, are finite, and lie in [0, 1] unless refusal(True) says why an attack is not "
    "to be used with them",
    mend="mix so that values stay in [0, 1] (a mean of two images does), or refuse attacked objectives",
    after=("runs",),
)
def images_fit(subject: Subject) -> None:
    """Whether an attack could use the images."""
    open_box = bool(subject.mixing.refusal(True))
    for what, (first, second, x_adv) in subject.all.items():
        like = subject.batches[what].x
        for name, x in (
            ("before's images", first.x),
            ("after's images", second.x),
            ("after's perturbed images", x_adv),
        ):
            same = x.shape == like.shape and x.dtype == like.dtype
            words = f"shape {tuple(x.shape)} of {x.dtype}, given were {tuple(like.shape)} of {like.dtype}"
            require(same, f"with {what} {name} have {words}", "keep shape and dtype of batch.x")
            require(
                bool(x.isfinite().all()), f"with {what} {name} are not finite", "look for divisions by 0 and log(0)"
            )
            low, high = float(x.min()), float(x.max())
            require(open_box or (low >= 0 and high <= 1), f"with {what} {name} run from {low:.4g} to {high:.4g}")
            require(not x.requires_grad, f"with {what} {name} require a gradient", "detach() them")


@demand(
    "keeps-its-inputs",
    expected="the batch, the perturbed images and the training set stay as they were",
    mend="make new tensors: no in-place operations on batch.x, x_adv or source.labels",
    after=("runs",),
)
def keeps_its_inputs(subject: Subject) -> None:
    """Whether it writes into what it is handed."""
    for batch in subject.batches.values():
        noise = GeneratorNoise(torch.Generator().manual_seed(0), batch.total, batch.rows)
        source = {f"source.{name}": getattr(subject.source, name) for name in ("labels", "groups", "index")}
        with tensors_kept("before", _tensors(batch) | source):
            first = subject.mixing.before(batch, subject.source, noise)
        x_adv = _perturbed(first)
        with tensors_kept("after", _tensors(first) | {"x_adv": x_adv}):
            subject.mixing.after(first, x_adv, noise)


@demand(
    "repeatable",
    expected="the same noise gives the same images, and other generators are left alone",
    mend=MEND,
    after=("keeps-its-inputs",),
)
def repeatable(subject: Subject) -> None:
    """Whether it draws random numbers of its own, or remembers."""
    batch = subject.batches["a batch"]

    def images_of(mixed: Mixed) -> list[Tensor]:
        return [mixed[0].x, mixed[1].x, mixed[2]]

    first = undrawn("it", lambda: images_of(subject.mixed(batch)))
    with seeded(1):
        text = difference(first, images_of(subject.mixed(batch)))
    require(not text, f"used twice with the same noise it gave {text}")


@demand(
    "stays-on-the-device",
    expected="it computes where the images are, and reads no value of a tensor back, for which a training step would wait",
    mend=device.MEND,
    after=("runs",),
)
def stays_on_the_device(subject: Subject) -> None:
    """Whether a step would mix devices, or wait for one."""
    batch = subject.batches["a batch"]
    x, y, group, index = (each.to(device.DEVICE) for each in (batch.x, batch.y, batch.group, batch.index))
    there = replace(batch, x=x, y=y, group=group, index=index)
    source = Resident(subject.data, NoAugmentation(), torch.device(device.DEVICE))
    noise = _Valueless(GeneratorNoise(torch.Generator(), batch.total, batch.rows))

    def mix() -> None:
        first = subject.mixing.before(there, source, noise)
        subject.mixing.after(first, first.x, noise)

    device.stays("", mix)


DEMANDS: tuple[Demand[Subject], ...] = (
    declarations,
    runs,
    labels_stay,
    images_fit,
    keeps_its_inputs,
    repeatable,
    stays_on_the_device,
)
"""Demands on mixing, beyond those on every component."""


def check_mixing(mixing: Mixing | type[Mixing] | str) -> tuple[Finding, ...]:
    """Check mixing against its contract, on small images.

    Args:
        mixing: Mixing, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no mixing, or cannot be made without arguments.
    """
    subject = made(mixing, "mixing")
    return examine_contract(subject, Subject(subject), DEMANDS)


class _Valueless:
    """Noise without values, with the shapes of another."""

    def __init__(self, noise: GeneratorNoise) -> None:
        self.noise = noise

    def uniform(self, like: Tensor) -> Tensor:
        return self.noise.uniform(torch.zeros(like.shape, dtype=like.dtype)).to(device.DEVICE)

    normal = uniform


def _perturbed(batch: Batch) -> Tensor:
    return (batch.x + 0.05 * (0.5 - batch.x).sign()).detach()


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {f"batch.{name}": getattr(batch, name) for name in ("x", "y", "group", "index")}
