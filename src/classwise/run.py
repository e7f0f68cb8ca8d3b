"""A run: what training left in its directory, as an object."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from classwise import configuration
from classwise.attacks.suite import Attacks
from classwise.data import Dataset
from classwise.evaluation import AuditResult
from classwise.evaluation.audit import stored_audit
from classwise.evaluation.plan import plan_audit
from classwise.lift import Lift, lift_of
from classwise.progress import Progress, default_progress
from classwise.runs import RunDirectory, checkpoints
from classwise.runs.acted import first_acts, inaction
from classwise.runs.repaired import described
from classwise.threat import ThreatModel
from classwise.trained import check_held_out, network_from, selected
from classwise.training import Runtime, TrainConfig
from classwise.training.runtime import Precision, search_precision


class Run:
    """A training run on disk.

    Args:
        path: Its directory.
        dataset: The data set, where the run was trained on a live one.
        network: The network, where the run was started from a live one.

    Raises:
        ValueError: There is no run.
    """

    def __init__(self, path: Path | str, dataset: Dataset | None = None, network: nn.Module | None = None) -> None:
        self.directory = RunDirectory(path)
        self.directory.require()
        self.config = self.directory.read_config(TrainConfig)
        self._dataset, self._network = dataset, network

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry per epoch: class-wise validation accuracy, class knobs, losses, learning rate, time."""
        return self.directory.events.read("epoch")

    @property
    def acted(self) -> dict[str, int]:
        """The first epoch in which each class knob left its neutral value; {}: the policy never acted."""
        return first_acts(self.history)

    @property
    def repair(self) -> dict[str, Any]:
        """What the repair without training found: its name, what it fitted, validation tables and scores before and after.

        {} where the run has none, or has not come to it yet.
        """
        return next(iter(self.directory.events.read("repair")[-1:]), {})

    @property
    def lift(self) -> Lift | None:
        """What a repair did for the weakest class on validation images, and whether the start is what it hands out.

        None where the run started from random weights, or is not finished.
        """
        return lift_of(self.directory)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes (or groups) that its figures are about."""
        return tuple(checkpoints.read_meta(self.checkpoint()[0])["group_names"])

    def score(self) -> float:
        """Validation score of the selected checkpoint, by the run's selection rule."""
        folder, averaged = self.checkpoint()
        return float(checkpoints.read_meta(folder)["scores"]["averaged" if averaged else "best"])

    @property
    def dataset(self) -> Dataset:
        """The data set it was trained on.

        Raises:
            ValueError: It cannot be loaded, or the images that test images are held out of are no longer the same.
        """
        if self._dataset is None:
            self._dataset = self.config.data.load()
            check_held_out(self.directory, self._dataset)
        return self._dataset

    def checkpoint(self, which: str = "selected") -> tuple[Path, bool]:
        """Folder of a checkpoint, and whether its averaged weights are meant.

        Args:
            which: "selected", "repaired" (where a repair without training was better), "best" (raw weights), "averaged",
                "last", "start", "final" (as the last epoch left them: the average where there is one, else raw), or a
                number of epochs, such as "12", or "12-averaged" for the average as it was then.

        Raises:
            ValueError: There is no such checkpoint.
        """
        shelf = self.directory.checkpoints
        if which == "selected":
            return selected(self.directory)
        if which == "final":
            last = self.checkpoint("last")[0]
            return last, (last / "averaged.safetensors").is_file()
        repaired = shelf.repaired()
        if repaired is not None and which in ("repaired", repaired.name):
            return repaired, False
        epochs = which.removesuffix("-averaged")
        number = (
            int(epochs)
            if epochs.isdigit()
            else shelf.pointed(which)
            if which in ("best", "averaged", "last", "start")
            else None
        )
        if number is None or not shelf.path(number).is_dir():
            there = ", ".join(str(each) for each in shelf.numbers())
            raise ValueError(
                f"{str(self.path)!r} has no checkpoint {which!r}: there are selected, best, last and those after {there} epochs; "
                "keep_epochs keeps more"
            )
        return shelf.path(number), which.endswith("averaged")

    def model(self, which: str = "selected") -> nn.Module:
        """A network with the weights of a checkpoint, in eval mode, on the CPU; see :meth:`checkpoint`."""
        given = copy.deepcopy(self._network).cpu() if self._network is not None else None
        return network_from(*self.checkpoint(which), given)[0]

    def audit(
        self,
        like: AuditResult | None = None,
        *,
        threat: ThreatModel | Sequence[ThreatModel] | None = None,
        attacks: Attacks = "pgd-20",
        checkpoint: str = "selected",
        per_class: int = 0,
        seed: int = 0,
        batch_size: int = 256,
        device: str = "",
        precision: Precision = "auto",
        shard: str = "",
        progress: Progress | None = None,
    ) -> AuditResult:
        """Audit a checkpoint on test images; kept in the run directory, and read from there when asked again.

        An audit that was interrupted goes on where it was.

        Args:
            like: An earlier audit whose threat models, attacks, samples and seed are used, so that both can be compared.
            threat: Threat model, or several radii; default: the one it was trained against.
            attacks: See :func:`classwise.attacks.attack_list`.
            checkpoint: See :meth:`checkpoint`.
            per_class: Number of test images of each class; 0: all.
            seed: Seed of random starts.
            batch_size: Images of a micro-batch.
            device: Where to run; default: as in training.
            precision: Of the search; see :func:`classwise.audit`.
            shard: One part of the images, such as "2/8"; see :func:`classwise.merge`.
            progress: Where progress is shown; default: the terminal.
        """
        hardware = self.config.hardware
        runtime = Runtime(configuration.replace(hardware, device=device) if device else hardware)
        folder, averaged = self.checkpoint(checkpoint)
        still = inaction(self.config.policy.registered_name, self.history)
        which = described(self.directory, folder, f"{'averaged' if averaged else 'raw'} weights")
        name = f"{self.path.name} ({which}{still})"
        with runtime.session():
            model = runtime.place(self.model(checkpoint)).eval()
            if like is not None:
                data = self.dataset.test.at(like.outcomes.index.tolist())
                plan = configuration.replace(like.plan, model=name, shard=shard)
                if data.checksum() != plan.data_sha256:
                    raise ValueError(
                        "the earlier audit is of other images than this run's test set: audit both on the same data"
                    )
            else:
                data = self.dataset.test.first_per_class(per_class) if per_class else self.dataset.test
                single = threat is None or isinstance(threat, ThreatModel)
                plan = plan_audit(
                    data,
                    model=name,
                    threats=[threat or self.config.threat] if single else list(threat),  # type: ignore[arg-type, list-item]
                    attacks=attacks,
                    seed=seed,
                    batch_size=batch_size,
                    precision=search_precision(precision, model, data.batch(slice(0, 1), runtime.device)[0]),
                    shard=shard,
                )
            return stored_audit(self.path / "audits", model, data, plan, runtime.device, progress or default_progress())

    def report(self, path: Path | str | None = None) -> Path:
        """Write one offline HTML file about the run and its audits; returns its path."""
        from classwise.report.html import write_report

        audits = [AuditResult.load(each.parent) for each in sorted(self.path.glob("audits/*/summary.json"))]
        return write_report(Path(path or self.path / "report" / "report.html"), audits=audits, runs=[self.directory])

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.directory.status['state']})"
