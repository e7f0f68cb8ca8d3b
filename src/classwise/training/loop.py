"""The one loop: epochs of steps, a validation pass after each, selection, checkpoints, history."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from classwise.averaging.base import Weights
from classwise.data import ClassData, Loader, Roles
from classwise.evaluation.collect import Evaluator
from classwise.metrics import ClassTable
from classwise.metrics.class_table import table_of_fractions
from classwise.policies.base import all_knobs
from classwise.progress import Advance, Progress
from classwise.repair import Bench, Fit, NoRepair
from classwise.runs import RunDirectory
from classwise.runs import checkpoints as shelf
from classwise.runs.acted import first_acts
from classwise.training.config import TrainConfig
from classwise.training.fit import check_heeded
from classwise.training.losses import validation_losses
from classwise.training.meter import Meter
from classwise.training.observe import LOSSES, measured
from classwise.training.runtime import Runtime
from classwise.training.state import STREAMS, TrainState
from classwise.training.step import Network, Stepper


def _untold(units: int = 1, note: str = "") -> None:
    """Shows no progress."""


class Trainer:
    """Trains one network in one run directory, whose lock the caller holds.

    Args:
        config: Every axis.
        directory: Where the run lives.
        roles: Training and validation images; there is no way to test images from here.
        model: The network with its first weights.
        runtime: Device, precision, processes.
        facts: Plain facts kept with every checkpoint, such as class names and input shape.
        teacher: The network that ``config.teacher`` names.

    Raises:
        ValueError: The policy needs groups that are the labels, and they are not; or the network is none that the repair
            can change.
    """

    def __init__(
        self,
        config: TrainConfig,
        directory: RunDirectory,
        roles: Roles,
        model: nn.Module,
        runtime: Runtime,
        facts: Mapping[str, Any],
        teacher: nn.Module | None = None,
    ) -> None:
        self.config, self.directory, self.roles, self.runtime, self.facts = (
            config,
            directory,
            roles,
            runtime,
            dict(facts),
        )
        self.needs = config.policy.observes() | frozenset(config.averaging.needs)
        self.groups = roles.train.num_groups
        same = self.groups == roles.train.num_classes and torch.equal(roles.train.groups, roles.train.labels)
        if config.policy.wants_labels() and not same:
            raise ValueError(
                f"policy {config.policy.registered_name!r} compares classes with predictions, so its groups must be the "
                "labels: leave groups out, or use another policy"
            )
        inner = runtime.place(model)
        network = Network(inner, runtime.wrap(inner))
        generators = {
            name: torch.Generator().manual_seed(_spread(config.seed, i))
            if name == "order"
            else runtime.generator(_spread(config.seed, i))
            for i, name in enumerate(STREAMS)
        }
        self.state = TrainState(
            network=network,
            optimizer=config.optimizer.build(inner.parameters()),
            generators=generators,
            policy=config.policy.init(self.groups),
        )
        self.loader = Loader(
            roles.train,
            config.batch_size,
            config.augmentation,
            runtime.device,
            generators["order"],
            generators["augment"],
            runtime.rank,
            runtime.world,
            config.balanced,
            config.hardware.feeding,
            config.hardware.workers,
        )
        self.stepper = Stepper(
            config,
            runtime,
            network,
            self.state.optimizer,
            self.loader.source,
            generators["attack"],
            generators["mixing"],
            runtime.place(teacher).eval().requires_grad_(False) if teacher is not None else None,
        )
        self.evaluator = Evaluator(
            threats=(config.validation_threat,),
            attacks=(config.validation_attack,),
            seed=config.seed,
            batch_size=config.batch_size,
            device=runtime.device,
        )
        config.repair.refuse(inner, self._bench(inner))

    def fit(self, progress: Progress) -> None:
        """Train to the last epoch, from the last checkpoint where there is one."""
        config, state = self.config, self.state
        if not self._resume():
            self._begin(progress)
        total = config.epochs * len(self.loader)
        with progress.task("train", total) as advance:
            advance(state.step)
            while state.epochs_done < config.epochs and not self._content():
                self._epoch(advance)
        repaired = {} if isinstance(config.repair, NoRepair) else {"repaired": self._repair(progress)}
        if self.runtime.is_main:
            best = {name: epochs for name, (_, epochs) in state.best.items()}
            self.directory.set_status(
                "finished",
                epochs=state.epochs_done,
                steps=state.step,
                selected=best,
                stopped_by_policy=state.epochs_done < config.epochs,
                acted=first_acts(self.directory.events.read("epoch")),
                **repaired,
            )
        self.runtime.barrier()

    def _content(self) -> bool:
        """Whether the policy has reached what it is for; not before there is a checkpoint to select."""
        return self.state.epochs_done > 0 and self.config.policy.finished(self.state.policy)

    def _begin(self, progress: Progress) -> None:
        """Statistics before the first epoch, and the checkpoint of the first weights."""
        stats = {"epoch": torch.tensor(-1)}
        if self.runtime.is_main:
            self.directory.set_status("running")
            self.directory.events.cut(0)
        policy = self.config.policy
        scores = {}
        looks = policy.looks_first() and measured(policy.observes(), "validation")
        if self.config.start or not self.config.epochs or looks:
            table = self._validate(self.state.network.inner, progress)
            if self.config.start or not self.config.epochs:
                self.state.start = _plain(table)
            if not self.config.epochs or self._guarded:
                scores = {"best": self.config.selection.score(table, 0)}
                self.state.best = {"best": (scores["best"], 0)}
            stats = self._validation_stats(table, epoch=-1) if policy.looks_first() else stats
            if self.runtime.is_main:
                self.directory.events.append("start", validation={"raw": _plain(table)})
                self._warn_if_not_robust(table)
        self.state.policy = policy.on_start(self.state.policy, stats)
        self.state.average = self.config.averaging.begin(self.state.network.inner.state_dict())
        if self.runtime.is_main:
            self._save(scores)

    def _warn_if_not_robust(self, table: ClassTable) -> None:
        robust, chance = table.class_mean, 1 / self.roles.validation.num_classes
        threat = self.config.validation_threat
        if self.config.start and self.config.objective.attacked and robust.low <= chance:
            warnings.warn(
                f"the start model is not robust: {robust} of the validation images withstand {threat}, which is "
                f"not shown to be more than guessing would get right ({100 * chance:.0f} %). Repair assumes a robust start: "
                "train one with an adversarial recipe first, or check the radius and the model's input scaling",
                stacklevel=2,
            )

    def _resume(self) -> bool:
        """Go back to the newest checkpoint that is whole; False where there is none."""
        checkpoints = self.directory.checkpoints
        last = checkpoints.pointed("last")
        if last is None:
            return False
        for number in [each for each in reversed(checkpoints.numbers()) if each <= last]:
            folder = checkpoints.path(number)
            try:
                found = shelf.load(folder)
            except ValueError as error:
                warnings.warn(f"{error}; going back to the checkpoint before it", stacklevel=2)
                continue
            events_size = self.state.restore(found, self.runtime)
            if self.config.start and not self.state.start:
                self._recall_start()
            if self.runtime.is_main:
                self.directory.events.cut(events_size)
            return True
        raise ValueError(
            f"no checkpoint in {str(checkpoints.folder)!r} can be read: restore one, or train again in another folder"
        )

    def _recall_start(self) -> None:
        """The start's table from the history, which has it also where checkpoints of earlier versions have not.

        Raises:
            ValueError: The history no longer has it.
        """
        begun = self.directory.events.read("start")
        if not begun:
            raise ValueError(
                f"{str(self.directory.events.path)!r} no longer tells how the start did: restore the file, or repair again in "
                "another folder"
            )
        self.state.start = dict(begun[-1]["validation"]["raw"])

    def _epoch(self, advance: Advance) -> None:
        config, state, epoch = self.config, self.state, self.state.epochs_done
        began = time.perf_counter()
        knobs = all_knobs(config.policy, state.policy, self.groups, self.runtime.device)
        check_heeded(config.policy.knobs(state.policy), config.policy, config.objective, config.adversary)
        meter = Meter(measured(self.needs, "train"), self.runtime)
        model = state.network.inner
        model.train()
        with closing(iter(self.loader)) as batches:  # also where a step fails: processes may be reading ahead
            for i, batch in enumerate(batches):
                rate = config.optimizer.lr * config.schedule.factor(epoch + i / len(self.loader), config.epochs)
                for group in state.optimizer.param_groups:
                    group["lr"] = rate
                state.policy = self.stepper(batch, knobs, state.policy, epoch, meter)
                state.step += 1
                if config.averaging.unit == "step":
                    self._average({"step": torch.tensor(state.step - 1), "epoch": torch.tensor(epoch)})
                advance()
        stats, history = meter.finish()
        if not math.isfinite(history["loss"]):
            raise FloatingPointError(
                f"the loss is no longer finite in epoch {epoch}: lower the learning rate ({rate:g}) or the class weights; "
                "the checkpoint before this epoch is kept"
            )
        trained = time.perf_counter() - began
        advance(0, note="validation …")
        raw = self._validate(model)
        validation = self._validation_stats(raw, epoch)
        if config.averaging.unit == "epoch":
            self._average({**validation, "step": torch.tensor(state.step - 1)})
        averaged = self._validate(self._averaged_model()) if state.average else None
        state.policy = config.policy.on_epoch(state.policy, {**stats, **validation})
        state.epochs_done += 1
        self._record(epoch, rate, trained, time.perf_counter() - began, history, knobs, raw, averaged)
        advance(0, note=_note(raw))

    def _record(
        self,
        epoch: int,
        rate: float,
        trained: float,
        seconds: float,
        history: dict[str, Any],
        knobs: Mapping[str, Tensor],
        raw: ClassTable,
        averaged: ClassTable | None,
    ) -> None:
        """Selection, history and checkpoint of an epoch, in this order."""
        tables = {"raw": raw} | ({"averaged": averaged} if averaged is not None else {})
        scores = {_score_of(which): self.config.selection.score(table, epoch) for which, table in tables.items()}
        for which, table in tables.items():
            name = _score_of(which)
            reached = (scores[name], epoch + 1)
            if name not in self.state.trained or reached >= self.state.trained[name]:
                self.state.trained[name] = reached
            if self._admits(table) and scores[name] >= self._to_beat(name):
                self.state.best[name] = reached
        if not self.runtime.is_main:
            return
        self.directory.events.append(
            "epoch",
            epoch=epoch,
            step=self.state.step,
            lr=rate,
            seconds={"train": trained, "all": seconds},
            train=history,
            knobs={name: values.tolist() for name, values in knobs.items()},
            policy={name: values.tolist() for name, values in self.config.policy.notes(self.state.policy).items()},
            validation={name: _plain(table) for name, table in tables.items()},
            scores=scores,
            selected={name: epochs for name, (_, epochs) in self.state.best.items()},
        )
        self._save(scores)

    @property
    def _guarded(self) -> bool:
        """Whether the network that the run starts from is a candidate of its selection."""
        return bool(self.config.start) and self.config.selection.keeps_start

    def _start(self) -> ClassTable:
        return table_of_fractions(self.state.start, self.roles.validation.group_names)

    def _admits(self, table: ClassTable) -> bool:
        """Whether weights may be handed out, beside those that the run started from."""
        return not self.config.start or self.config.selection.admits(table, self._start())

    def _to_beat(self, name: str) -> float:
        """The score of the weights kept so far; before there are averaged ones that of the start, where it is a candidate."""
        if name in self.state.best:
            return self.state.best[name][0]
        return self.config.selection.score(self._start(), 0) if self._guarded else -math.inf

    def _save(self, scores: Mapping[str, float]) -> None:
        checkpoints, state = self.directory.checkpoints, self.state
        number = state.epochs_done
        facts = {**self.facts, "scores": dict(scores)}
        shelf.save(checkpoints.path(number), state.capture(self.runtime, self.directory.events.size(), facts))
        if number == 0 and self.config.start:
            checkpoints.point("start", 0)
        for name, (_, epochs) in state.best.items():
            checkpoints.point(name, epochs)
        checkpoints.point("last", number)
        every = self.config.keep_every
        kept = range(every, number + 1, every) if every else ()
        ends = (0, *(epochs for _, epochs in state.trained.values())) if self.config.repair.needs_start else ()
        checkpoints.prune(keep={*self.config.keep_epochs, *kept, *ends})

    def _repair(self, progress: Progress) -> bool:
        """Fit the repair to the selected weights; whether it found better ones, which are then the run's.

        Nothing of it is kept before it is done: a run that was killed meanwhile begins it again, and ends alike.
        """
        config, began = self.config, time.perf_counter()
        weights, first, which, epochs = self._to_repair()
        network = copy.deepcopy(self.state.network.inner)
        with progress.task(f"repair {config.repair.registered_name}", config.repair.passes()) as advance:
            found = config.repair.fit(self._bench(network, advance), weights, first)
        better = self._is_better(found, which, epochs)
        if not self.runtime.is_main:
            return better
        self.directory.events.append(
            "repair",
            name=config.repair.registered_name,
            of={"weights": which, "epochs": epochs},
            of_selected=self._is_kept(which, epochs),
            better=better,
            fitted=dict(found.fitted),
            tried=found.tried,
            scores=found.scores,
            validation={"before": _plain(found.before), "after": _plain(found.after)},
            seconds=time.perf_counter() - began,
        )
        if better:
            scores = {"best": config.selection.score(found.after, max(epochs - 1, 0))}
            facts = {"name": config.repair.registered_name, "of": which, "fitted": dict(found.fitted)}
            meta = {"epochs": epochs, "step": self.state.step, **self.facts, "scores": scores, "repair": facts}
            made = shelf.Checkpoint(model=found.weights, averaged={}, state={}, meta=meta)
            shelf.save(self.directory.checkpoints.repaired_path(epochs), made)
        return better

    def _is_better(self, found: Fit, which: str, epochs: int) -> bool:
        """Whether to hand out what a repair found, and not what the selection kept."""
        if not self._admits(found.after):
            return False
        if self._is_kept(which, epochs):
            return found.is_better
        return self.config.selection.score(found.after, max(epochs - 1, 0)) > self.state.best[self._kept()][0]

    def _is_kept(self, which: str, epochs: int) -> bool:
        """Whether these weights are what the selection keeps."""
        return (_score_of(which), epochs) == (self._kept(), self.state.best[self._kept()][1])

    def _kept(self) -> str:
        """Which weights are the run's result: the averaged ones where there are any, the raw ones otherwise."""
        return "averaged" if "averaged" in self.state.best else "best"

    def _to_repair(self) -> tuple[Weights, Weights, str, int]:
        """Weights of the selected epoch and, where they are needed, of the start; which the former are, and their epoch.

        A repair that looks at the start gets the best epoch also where the start is kept in its place: what lies between
        the two may be better than both.
        """
        self.runtime.barrier()  # until the main process has written them
        known = self.state.trained if self.config.repair.needs_start else self.state.best
        which = "averaged" if "averaged" in known else "best"
        epochs = known[which][1]
        found = shelf.load(self.directory.checkpoints.path(epochs))
        first = shelf.load(self.directory.checkpoints.path(0)).model if self.config.repair.needs_start else {}
        weights, first = (
            {name: value.to(self.runtime.device) for name, value in each.items()}
            for each in (found.averaged if which == "averaged" else found.model, first)
        )
        return weights, first, "averaged" if which == "averaged" else "raw", epochs

    def _bench(self, network: nn.Module, advance: Advance = _untold) -> Bench:
        return Bench(network, self.roles.validation, self.evaluator, advance, self._admits)

    def _average(self, signal: Mapping[str, Tensor]) -> None:
        self.state.average = self.config.averaging.update(
            self.state.average, self.state.network.inner.state_dict(), signal
        )

    def _averaged_model(self) -> nn.Module:
        model = copy.deepcopy(self.state.network.inner)
        model.load_state_dict(self.state.average)
        return model

    def _validate(self, model: nn.Module, progress: Progress | None = None) -> ClassTable:
        data: ClassData = self.roles.validation
        return self.evaluator.collect(model, data, progress, label="validation").table(0, data.group_names)

    def _validation_stats(self, table: ClassTable, epoch: int) -> dict[str, Tensor]:
        stats = {
            "epoch": torch.tensor(epoch),
            "validation_clean": torch.from_numpy(table.clean),
            "validation_robust": torch.from_numpy(table.robust),
            "validation_count": torch.from_numpy(table.n),
        }
        if LOSSES & {*measured(self.needs, "validation")}:
            stats |= validation_losses(self.stepper, self.roles.validation, epoch)
        return stats


def _plain(table: ClassTable) -> dict[str, list[float]]:
    return {"n": table.n.tolist(), "clean": table.clean.tolist(), "robust": table.robust.tolist()}


def _score_of(which: str) -> str:
    """The name under which the score of raw or averaged weights is kept."""
    return "best" if which == "raw" else which


def _note(table: ClassTable) -> str:
    return f"validation: robust {100 * table.class_mean.value:.1f} %, weakest {table.weakest} {100 * table.worst.value:.1f} %"


def _spread(seed: int, stream: int) -> int:
    """Seeds of the generators, far apart for neighbouring runs and streams."""
    return (seed * 1_000_003 + 7919 * (stream + 1)) % (1 << 62)
