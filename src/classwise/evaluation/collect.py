"""Running a model over a data set, clean and under attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

import torch
from torch import Tensor

from classwise.attacks.base import Attack, Classifier
from classwise.attacks.stepwise import Stepwise
from classwise.attacks.suite import describe
from classwise.data.dataset import ClassData
from classwise.evaluation.admission import FIRST, check_gradient, check_model
from classwise.evaluation.board import Board
from classwise.evaluation.journal import Journal, NoJournal
from classwise.evaluation.judge import Judge
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.pool import Pool
from classwise.evaluation.shapes import FixedShapes, Memory, allows_smaller
from classwise.models.fast_copy import fast_copy
from classwise.models.modes import mode
from classwise.progress import Progress, Silent
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel

Precision = Literal["exact", "mixed"]


@dataclass(frozen=True)
class Evaluator:
    """How outcomes are collected.

    Args:
        threats: One or several radii (and norms), each attacked on its own.
        attacks: A sample counts as broken when any of them breaks it; later ones see survivors only.
        seed: Seed of random draws, which are keyed by sample and do not depend on batches.
        batch_size: Samples per micro-batch; short ones are padded.
        device: Where the model is.
        precision: "exact": attacks search in fp32; "mixed": in bf16. Verdicts are the model's own in fp32 in either.
    """

    threats: Sequence[ThreatModel]
    attacks: Sequence[Attack]
    seed: int = 0
    batch_size: int = 256
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    precision: Precision = "exact"

    def collect(
        self, model: Classifier, data: ClassData, progress: Progress | None = None, label: str = "audit"
    ) -> Outcomes:
        """Outcomes of every sample of a data set, in its order; see :meth:`run`."""
        return self.run(model, data, progress, label).outcomes

    def run(
        self,
        model: Classifier,
        data: ClassData,
        progress: Progress | None = None,
        label: str = "audit",
        journal: Journal | None = None,
    ) -> Collected:
        """Outcomes of every sample of a data set, in its order, and how they were computed.

        Args:
            model: The classifier.
            data: Samples.
            progress: Where progress is shown.
            label: What it is called there.
            journal: Where finished work is kept, and what of it is known already.

        Raises:
            ValueError: The model cannot be run on these images, or its output is not (N, classes) finite logits.
        """
        board = Board(data, len(self.threats))
        if not len(data):
            return Collected(board.outcomes(data), "nothing", 0, 0.0)
        show = progress or Silent()
        kept: Journal | NoJournal = journal or NoJournal()
        kept.replay(board, {number: _tasks(attack, data.num_classes) for number, attack in enumerate(self.attacks)})
        try:
            with mode(model, training=False), torch.autocast(self.device.type, enabled=False):
                session = Session(self, model, data, board, kept)
                session.clean(show, f"{label}, clean")
                for r, threat in enumerate(self.threats):
                    for number, attack in enumerate(self.attacks):
                        session.attack(show, f"{label}, {threat}, {describe([attack])}", r, number)
        finally:
            kept.flush()
        return Collected(board.outcomes(data), session.described, session.memory.size, session.judge.excess)

    def perturb(self, model: Classifier, data: ClassData, number: int) -> Tensor:
        """Perturbed images of a few samples at the first radius, by one of the attacks alone, as :meth:`run` judges them.

        Returns:
            (N, C, H, W) float32 on the CPU; the original where a sample is wrong without attack.
        """
        images = data.batch(slice(None))[0].clone()
        if not len(data):
            return images
        kept: dict[int, Tensor] = {}
        with mode(model, training=False), torch.autocast(self.device.type, enabled=False):
            session = Session(self, model, data, Board(data, len(self.threats)), NoJournal(), kept)
            session.clean(Silent(), "")
            session.attack(Silent(), "", 0, number)
        for row, image in kept.items():
            images[row] = image
        return images


@dataclass(frozen=True)
class Collected:
    """Outcomes, and how they were computed.

    Args:
        outcomes: Per-sample outcomes.
        search: What attacks searched on, in words.
        images_at_once: Micro-batch in the end; smaller than asked for where memory ran out.
        excess: How far a perturbed image was outside its ball or the box before it was put back; up to rounding, 0.
    """

    outcomes: Outcomes
    search: str
    images_at_once: int
    excess: float


class Session:
    """One pass over one data set: the model, its faster copy, and what is known so far.

    Args:
        plan: How outcomes are collected.
        model: In eval mode.
        data: At least one sample.
        board: Verdicts so far.
        journal: Where finished work is kept.
        keep: Receives the image that each sample's verdict is about, by its position, where they are wanted.

    Raises:
        ValueError: As for :meth:`Evaluator.collect`.
    """

    def __init__(
        self,
        plan: Evaluator,
        model: Classifier,
        data: ClassData,
        board: Board,
        journal: Journal | NoJournal,
        keep: dict[int, Tensor] | None = None,
    ) -> None:
        self.plan, self.data, self.board, self.journal, self.keep = plan, data, board, journal, keep
        self.memory = Memory(plan.batch_size)
        self.memory.run(lambda size: check_model(model, _first(data, size), plan.device))
        if any(attack.needs_gradient for attack in plan.attacks):
            check_gradient(model, data, plan.device)
        few, _ = _first(data, self.memory.size).batch(slice(None), plan.device)
        copy, self.described = fast_copy(model, few, bf16=False)
        self.search = self.sure = self._shaped(copy, few)
        if plan.precision == "mixed":
            copy, self.described = fast_copy(model, few, bf16=True)
            self.search = self._shaped(copy, few)
        self.judge = Judge(self._shaped(model, few), data.num_classes)
        self.model = model

    def _shaped(self, model: Classifier, few: Tensor) -> FixedShapes:
        flexible = self.memory.run(lambda size: allows_smaller(model, few, size))
        return FixedShapes(model, self.memory, flexible)

    def clean(self, show: Progress, label: str) -> None:
        """Judge clean images that are not known yet."""
        unknown = (~self.board.clean_known).nonzero()[:, 0]
        with show.task(label, len(unknown)) as advance:
            for rows in _chunks(unknown, self.memory.size):
                prediction, margin = self.judge.verdict(*self.data.batch(rows, self.plan.device))
                self.board.clean(rows, prediction, margin)
                self.journal.clean(rows, prediction, margin)
                advance(len(rows))

    def attack(self, show: Progress, label: str, r: int, number: int) -> None:
        """Attack the survivors of one radius."""
        attack, threat = self.plan.attacks[number], self.plan.threats[r]
        tasks = _tasks(attack, self.data.num_classes)
        todo = self.board.wanted(r, number, tasks)
        with show.task(label, int(todo.sum())) as advance:
            if _can_step(attack):
                self._pool(attack, threat, r, number).run(advance)
            else:
                for rows in _chunks(todo[:, 0].nonzero()[:, 0], self.plan.batch_size):
                    self.memory.run(lambda size: self._whole(attack, threat, r, number, rows, size))  # noqa: B023
                    advance(len(rows), note=self.board.note(r))
        self.journal.flush()

    def _pool(self, attack: Stepwise, threat: ThreatModel, r: int, number: int) -> Pool:
        plan = self.plan
        return Pool(
            attack=attack,
            number=number,
            threat=threat,
            threat_number=r,
            search=self.sure if attack.needs_fp32 else self.search,
            sure=self.sure,
            judge=self.judge,
            data=self.data,
            board=self.board,
            journal=self.journal,
            memory=self.memory,
            seed=plan.seed,
            device=plan.device,
            keep=self.keep,
        )

    def _whole(self, attack: Attack, threat: ThreatModel, r: int, number: int, rows: Tensor, size: int) -> None:
        """Run an attack that cannot be taken apart into steps on some samples, so many at a time."""
        model = self.model if attack.bn_mode == "train" else self.judge.model
        for some in _chunks(rows, size):
            x, y = self.data.batch(some, self.plan.device)
            noise = KeyedNoise(self.plan.seed, self.data.index[some].to(self.plan.device), number)
            x_adv = attack(model, x, y, threat=threat, noise=noise)
            radius = torch.full((len(y),), float(threat.radius), dtype=x.dtype, device=x.device)
            prediction, margin = self.judge.perturbed(x_adv, x, y, threat, radius)
            tasks = torch.zeros_like(some)
            counts = self.board.judged(r, number, some, tasks, prediction, margin)
            self.board.finished(r, number, 1)[some] = True
            self.journal.attack(r, number, some, tasks, prediction, margin)
            if self.keep is not None:
                found = zip(some.tolist(), x_adv.cpu(), counts, strict=True)
                self.keep.update((row, image) for row, image, new in found if new)


def _can_step(attack: Attack) -> TypeGuard[Stepwise]:
    """Whether samples may come and go during an attack; in train mode BatchNorm would make them depend on one another."""
    return isinstance(attack, Stepwise) and attack.bn_mode == "eval"


def _tasks(attack: Attack, classes: int) -> int:
    return attack.tasks(classes) if _can_step(attack) else 1


def _first(data: ClassData, size: int) -> ClassData:
    """The images that a model is tried on."""
    return data.subset(torch.arange(min(FIRST, size, len(data))))


def _chunks(rows: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
