"""Class-wise accuracy of a model during anyone's own training loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from classwise.attacks.suite import Attacks, attack_list, check_threat, describe
from classwise.data import ClassData
from classwise.evaluation.collect import Evaluator
from classwise.metrics import ClassTable
from classwise.runs.events import EventLog
from classwise.subject import device_of
from classwise.threat import ThreatModel


class ClasswiseMonitor:
    """Measures clean and robust accuracy of every class on validation images, whenever it is called.

    The model is left as it was, bit for bit: the mode of every module, weights, gradients, buffers such as BatchNorm's
    running statistics, and every random number that training draws later. The same images, random starts and attack are
    used each time, so figures of different epochs differ by the model alone. Forward hooks of the model are run.

    Args:
        data: Validation images in [0, 1] with labels; such as ``cw.ClassData(images, labels, names)`` or the ``train`` of
            :func:`classwise.data.from_torch`. Never test images: what is looked at during training is chosen by.
        threat: Threat model; default: l_inf 8/255.
        attacks: See :func:`classwise.attacks.attack_list`. The default is for curves, not for figures to publish.
        per_class: Number of images of each class, the first ones; 0: all.
        seed: Seed of random starts.
        batch_size: Images of a micro-batch.
        log: A folder whose ``events.jsonl`` every measurement is added to, for :func:`classwise.trackers.track`.

    Raises:
        ValueError: There are no images, or an attack does not fit the threat model.
    """

    def __init__(
        self,
        data: ClassData,
        threat: ThreatModel | None = None,
        attacks: Attacks = "pgd-10",
        *,
        per_class: int = 100,
        seed: int = 0,
        batch_size: int = 256,
        log: Path | str | None = None,
    ) -> None:
        self.data = data.first_per_class(per_class) if per_class else data
        if not len(self.data):
            raise ValueError(f"{data.name!r} has no images: give validation images")
        self.threat, self.attacks = threat or ThreatModel(), attack_list(attacks)
        check_threat(self.attacks, self.threat)
        self.seed, self.batch_size = seed, batch_size
        self.log = None if log is None else EventLog(Path(log) / "events.jsonl")

    def __call__(self, model: nn.Module, step: int) -> ClassTable:
        """Measure a model as it is now.

        Args:
            model: Answers with logits (N, classes) to images in [0, 1]; where yours wants standardised images, give
                ``cw.Normalized(model, mean, std)``. It may be in train mode, and on any device.
            step: What the figures are plotted against, such as epochs done; at least 0.

        Returns:
            The class table, with intervals. Entries of the log from this step on, left by a loop that was interrupted and
            does this step again, are replaced.

        Raises:
            ValueError: The model cannot be run on these images, gives no logits or cannot be differentiated, the step is
                negative, or the log cannot be written.
        """
        if step < 0:
            raise ValueError(f"step {step} is negative: count steps or epochs from 0")
        inner = model.module if isinstance(model, DistributedDataParallel) else model  # passes of one process only
        device = device_of(inner)
        evaluator = Evaluator([self.threat], self.attacks, self.seed, self.batch_size, device)
        # A caller may be in inference mode, in which attacks have no gradients.
        with untouched(inner, device), torch.inference_mode(False), torch.enable_grad():
            table = evaluator.collect(inner, self.data).table(0, self.data.group_names)
        if self.log is not None:
            self._write(self.log, table, step)
        return table

    def _write(self, log: EventLog, table: ClassTable, step: int) -> None:
        log.path.parent.mkdir(parents=True, exist_ok=True)
        log.mend()
        size = 0
        for event, line in zip(log.read(), log.path.read_bytes().splitlines(True) if log.size() else (), strict=True):
            if event["event"] == "monitor" and event["step"] >= step:
                log.cut(size)
                break
            size += len(line)
        log.append(
            "monitor",
            step=step,
            threat=str(self.threat),
            attacks=describe(self.attacks),
            seed=self.seed,
            names=list(table.names),
            table={"n": table.n.tolist(), "clean": table.clean.tolist(), "robust": table.robust.tolist()},
        )


@contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put buffers and the state of all random numbers back as they were.

    Args:
        model: Its modes, weights and gradients are left alone by attacks; buffers may change where a layer does not heed
            eval mode.
        device: Where it is.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    numbers, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the program's own state
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for buffer, was in buffers:
            # Writing to one that has not changed would spoil a backward pass that is still to come.
            if not torch.equal(buffer, was):
                with torch.no_grad():
                    buffer.copy_(was)
        random.setstate(numbers)
        np.random.set_state(arrays)  # noqa: NPY002 - the program's own state
