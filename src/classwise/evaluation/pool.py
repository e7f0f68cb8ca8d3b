"""Survivors under attack, packed into full batches: who is broken leaves at once, and the next one takes the place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from classwise.attacks.base import Classifier
from classwise.attacks.stepwise import Rows, Stepwise, first_rows, stepped
from classwise.data.dataset import ClassData
from classwise.evaluation.board import Board
from classwise.evaluation.journal import Journal, NoJournal
from classwise.evaluation.judge import Judge
from classwise.evaluation.shapes import Memory
from classwise.progress import Advance
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel

LOOK = 8
"""Steps between two looks at an accelerator, which would otherwise wait for the host at every step."""


def between_looks(device: torch.device) -> int:
    """Steps from one look to the next."""
    return 1 if device.type == "cpu" else LOOK


@dataclass(frozen=True)
class Pool:
    """One attack on the survivors of the attacks before it.

    A piece of work is one run of one sample: a restart, a target class. Pieces wait in order of their run, so that
    the first target class is tried on every sample before the second; when few samples are left, several target
    classes of one sample share a batch.

    Args:
        attack: What is run.
        number: Its position in the suite.
        threat: Threat model.
        threat_number: Its position in the audit.
        search: What the attack differentiates: the model or a faster copy.
        sure: The same in fp32: on it runs are repeated that fooled the search but not the model.
        judge: The model itself.
        data: Samples.
        board: Verdicts so far.
        journal: Where finished work is kept.
        memory: How many rows are worked on at once.
        seed: Seed of the audit.
        device: Where the model is.
        keep: Receives the image that each sample's verdict is about, by its position, where they are wanted.
    """

    attack: Stepwise
    number: int
    threat: ThreatModel
    threat_number: int
    search: Classifier
    sure: Classifier
    judge: Judge
    data: ClassData
    board: Board
    journal: Journal | NoJournal
    memory: Memory
    seed: int
    device: torch.device
    keep: dict[int, Tensor] | None = None

    def run(self, advance: Advance) -> None:
        """Work until nothing is left."""
        doubted: list[tuple[int, int]] = []
        self._work(deque(self._pieces()), self.search, doubted, advance)
        self._work(deque(doubted), self.sure, [], advance)

    def _work(
        self, waiting: deque[tuple[int, int]], search: Classifier, again: list[tuple[int, int]], advance: Advance
    ) -> None:
        """Work off some pieces; those whose claims the model did not confirm are added to ``again``."""
        may_doubt = search is not self.sure
        doubted = torch.zeros(0, dtype=torch.bool)  # of each row: whether the model disagreed with a claim
        rows: Rows | None = None
        place = torch.zeros(0, dtype=torch.int64)  # of each row: position of its sample in the data
        steps = torch.zeros(0, dtype=torch.int64)
        runs = torch.zeros(0, dtype=torch.int64)  # of each row: which run of its sample it is
        look, length, turn = between_looks(self.device), self.attack.length(), 0
        while True:
            turn = turn if len(place) else 0
            # Rows begin together with a look, so that each is looked at after the same steps in any company.
            free = self.memory.size - len(place) if turn % look == 0 else 0
            coming = self._next(waiting, free, advance)
            if coming is not None:
                at, task = coming
                fresh = self._begin(search, at, task)
                rows = fresh if rows is None else rows.join(fresh)
                place, runs = torch.cat([place, at]), torch.cat([runs, task])
                steps = torch.cat([steps, torch.zeros_like(at)])
                doubted = torch.cat([doubted, torch.zeros(len(at), dtype=torch.bool)])
            if rows is None or not len(place):
                return
            rows, steps, turn = self._stepped(search, rows, place), steps + 1, turn + 1
            self.journal.tick()
            at_end = steps >= length
            due = at_end | (steps % look == 0)
            if not bool(due.any()):
                continue
            rows, leave, unsure = self._look(rows, place, runs, due, at_end, doubted if may_doubt else None, advance)
            again += [(int(place[row]), int(runs[row])) for row in unsure]
            if bool(leave.any()):
                stay = (~leave).nonzero()[:, 0]
                rows = rows.take(stay.to(self.device))
                place, runs, steps, doubted = place[stay], runs[stay], steps[stay], doubted[stay]

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """Samples and runs that are not finished, run by run."""
        tasks = self.attack.tasks(self.data.num_classes)
        todo = self._wanted()
        for task in range(tasks):
            for row in todo[:, task].nonzero()[:, 0].tolist():
                yield row, task

    def _next(self, waiting: deque[tuple[int, int]], places: int, advance: Advance) -> tuple[Tensor, Tensor] | None:
        """The next pieces that are still wanted, for so many free places."""
        if places <= 0 or not waiting:
            return None
        taken: list[tuple[int, int]] = []
        wanted = self._wanted()
        while waiting and len(taken) < places:
            piece = waiting.popleft()
            if bool(wanted[piece]):
                taken.append(piece)
            else:
                advance(1)
        if not taken:
            return None
        at, task = torch.tensor(taken, dtype=torch.int64).unbind(1)
        return at, task

    def _wanted(self) -> Tensor:
        return self.board.wanted(self.threat_number, self.number, self.attack.tasks(self.data.num_classes))

    def _noise(self, place: Tensor, task: Tensor, step: Tensor) -> KeyedNoise:
        key = self.data.index[place].to(self.device)
        return KeyedNoise(self.seed, key, self.number, task, step)

    def _begin(self, search: Classifier, at: Tensor, task: Tensor) -> Rows:
        x, y = self.data.batch(at, self.device)
        radius = torch.full((len(at),), float(self.threat.radius), dtype=x.dtype, device=self.device)
        fresh = first_rows(x, y, radius, task.to(self.device))
        return self._in_slices(fresh, at, lambda rows, noise: self.attack.begin(search, self.threat, rows, noise), 0)

    def _stepped(self, search: Classifier, rows: Rows, place: Tensor) -> Rows:
        return self._in_slices(
            rows, place, lambda part, noise: stepped(self.attack.step(search, self.threat, part, noise)), 1
        )

    def _in_slices(self, rows: Rows, place: Tensor, work: Callable[[Rows, KeyedNoise], Rows], ahead: int) -> Rows:
        """Do something to all rows, as many at a time as memory allows."""
        done: list[Rows] = []

        def attempt(size: int) -> None:
            done.clear()
            for start in range(0, len(place), size):
                part = rows if size >= len(place) else rows.take(slice(start, start + size))
                done.append(work(part, self._noise(place[start : start + size], part.task, part.step + ahead)))

        self.memory.run(attempt)
        joined = done[0]
        for part in done[1:]:
            joined = joined.join(part)
        return joined

    def _look(
        self,
        rows: Rows,
        place: Tensor,
        runs: Tensor,
        due: Tensor,
        at_end: Tensor,
        doubted: Tensor | None,
        advance: Advance,
    ) -> tuple[Rows, Tensor, list[int]]:
        """Judge claims and finished runs among the rows that are due.

        Returns:
            The rows, which of them leave, and which of these are to be run again because their claims were not confirmed.
        """
        judged = ((due & rows.fooled.cpu()) | at_end).nonzero()[:, 0]
        if not len(judged):
            return rows, torch.zeros(len(place), dtype=torch.bool), []
        chosen = rows.take(judged.to(self.device))
        prediction, margin = self.judge.perturbed(chosen.best, chosen.x, chosen.y, self.threat, chosen.radius)
        broken = prediction != self.board.labels[place[judged]]
        final = broken | at_end[judged]
        unsure: list[int] = []
        if doubted is not None:
            doubted[judged] |= rows.fooled.cpu()[judged] & ~broken
            repeat = final & ~broken & doubted[judged]
            final, unsure = final & ~repeat, judged[repeat].tolist()
        settled = judged[final]
        where, tasks = place[settled], runs[settled]
        counts = self.board.judged(self.threat_number, self.number, where, tasks, prediction[final], margin[final])
        if self.keep is not None:
            images = chosen.best[final.to(self.device)].cpu()
            self.keep.update(
                (row, image) for row, image, new in zip(where.tolist(), images, counts, strict=True) if new
            )
        finished = self.board.finished(self.threat_number, self.number, self.attack.tasks(self.data.num_classes))
        finished[where, tasks] = True
        self.journal.attack(self.threat_number, self.number, where, tasks, prediction[final], margin[final])
        # Later runs of a sample that is broken now have nothing left to show.
        leave = ~self._wanted()[place, runs]
        unsure = [row for row in unsure if not leave[row]]
        advance(int(leave.sum()), note=self.board.note(self.threat_number))
        leave[unsure] = True
        doubtful = judged[~final]
        if len(doubtful):  # the copy was fooled, the model is not: the run goes on
            fooled = rows.fooled.clone()
            fooled[doubtful.to(self.device)] = False
            rows = replace(rows, fooled=fooled)
        return rows, leave, unsure
