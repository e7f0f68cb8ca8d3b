"""The runs that an experiment asks for, in the order in which they can be done, as data and as commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from classwise.attacks import Attack, attack_list
from classwise.configuration import replace, to_plain, to_yaml
from classwise.data import DataSource
from classwise.experiments.base import Experiment, Row, Training
from classwise.experiments.measures import Audited, Certified, HardHit
from classwise.experiments.sizes import Size
from classwise.models import ModelBuilder
from classwise.radius import Radius
from classwise.registry import did_you_mean
from classwise.runs.atomic import write_text
from classwise.threat import ThreatModel
from classwise.training import TrainConfig

PROBLEM = ("data", "split", "model", "threat", "augmentation", "batch_size", "hardware")
"""What a repair takes from the run it starts from; the same as ``classwise finetune``."""


@dataclass(frozen=True)
class Asked:
    """An audit that a plan asks for.

    Args:
        checkpoint: See :meth:`classwise.Run.checkpoint`; a file of weights has "selected" only.
        attacks: Whose worst case counts.
        threat: What the attacker may do.
        step: Length of the attacks' steps; None: their own.
    """

    checkpoint: str
    attacks: str
    threat: ThreatModel
    step: Radius | None = None

    def attack_list(self) -> tuple[Attack, ...]:
        """The attacks, with the steps that are asked for."""
        found = attack_list(self.attacks)
        return found if self.step is None else tuple(replace(each, step_size=self.step) for each in found)


@dataclass(frozen=True)
class AskedCertificates:
    """A certification that a plan asks for.

    Args:
        checkpoint: As for :class:`Asked`; raw weights are certified but where the selected ones are averaged.
        sigma: Standard deviation of the noise.
    """

    checkpoint: str
    sigma: float


@dataclass(frozen=True)
class Planned:
    """A network of the plan: a training with a seed, or a file of weights that was given.

    Args:
        name: Unique in the plan; its folder.
        config: The configuration, in the plan's size, without its start.
        start: Name of the planned network it starts from; empty: it starts from nothing.
        file: The file of weights; empty: it is trained.
        audits: What is asked about it.
        certificates: The certifications that are asked of it.
    """

    name: str
    config: TrainConfig
    start: str = ""
    file: str = ""
    audits: tuple[Asked, ...] = ()
    certificates: tuple[AskedCertificates, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is run for an experiment.

    Args:
        experiment: With the chosen rows only.
        size: Its size.
        seeds: Seeds of every training, 0 to ``seeds - 1``.
        out: Absolute folder of everything.
        networks: In an order in which each comes after what it starts from.
        left_out: Names of rows that cannot be run here, and why.
    """

    experiment: Experiment
    size: Size
    seeds: int
    out: Path
    networks: tuple[Planned, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """Run directory of a network; of a file the folder of its audits."""
        return self.out / "runs" / name

    def config(self, network: Planned) -> TrainConfig:
        """The whole configuration, with the path of the start."""
        if not network.start:
            return network.config
        start = next(each for each in self.networks if each.name == network.start)
        return replace(network.config, start=start.file or str(self.folder(start.name)))

    def networks_of(self, training: Training) -> tuple[Planned, ...]:
        """The networks of a training, one per seed, or the one file."""
        names = {network_name(training, seed) for seed in range(self.seeds)} | {training.name}
        return tuple(network for network in self.networks if network.name in names)


def plan(
    experiment: Experiment,
    size: Size,
    out: Path,
    seeds: int = 1,
    data_dir: Path | None = None,
    files: Mapping[str, str] | None = None,
) -> Plan:
    """Plan the runs of an experiment's rows. The same arguments give the same plan; nothing is read or written.

    Args:
        experiment: With the rows that are wanted; see :meth:`Experiment.only`.
        size: See :data:`classwise.experiments.sizes.SIZES`.
        out: Folder of everything.
        seeds: Number of seeds of every training.
        data_dir: Folder of the data sets' official files.
        files: Files of weights in the place of trainings, by the training's name.

    Raises:
        ValueError: There are fewer than 1 seed, a file is for no training that something starts from or that is public,
            or no row can be run.
    """
    if seeds < 1:
        raise ValueError(f"seeds {seeds} must be at least 1")
    given = {name: str(Path(path).expanduser().resolve()) for name, path in (files or {}).items()}
    replaceable = _replaceable(experiment)
    for name in given:
        if name not in replaceable:
            raise ValueError(
                f"nothing in {experiment.name} starts from {name!r}{did_you_mean(name, replaceable)}; "
                f"starts: {', '.join(replaceable) or 'none'}"
            )
    left_out = {}
    for row in experiment.rows:
        missing = [each for each in row.chains() if each.public and each.name not in given]
        if size.name == "paper" and missing:
            left_out[row.name] = f"needs {missing[0].public}: give it as --start {missing[0].name}=FILE"
    rows = tuple(row for row in experiment.rows if row.name not in left_out)
    if not rows:
        raise ValueError(f"no row of {experiment.name} can be run: {next(iter(left_out.values()))}")
    networks: dict[str, Planned] = {}
    for row in rows:
        measures = [column.measure for other, column in experiment.cells() if other == row]
        audits = [asked(size, row, each) for each in measures if isinstance(each, Audited | HardHit)]
        certificates = [asked_certificates(row, each) for each in measures if isinstance(each, Certified)]
        for seed in range(seeds):
            for training in row.chains():
                made = _planned(training, size, seed, data_dir, given)
                known = networks.setdefault(made.name, made)
                if training in (row.training, row.minus):
                    networks[made.name] = replace(
                        known,
                        audits=tuple(dict.fromkeys([*known.audits, *audits])),
                        certificates=tuple(dict.fromkeys([*known.certificates, *certificates])),
                    )
    return Plan(experiment, size, seeds, out.expanduser().resolve(), tuple(networks.values()), left_out)


def asked(size: Size, row: Row, measure: Audited | HardHit) -> Asked:
    """The audit in which a figure of a row is found."""
    faced, step = size.faced(measure.threat), measure.step if isinstance(measure, Audited) else None
    if step is not None and faced.radius != measure.threat.radius:
        step = Radius(f"{step * faced.radius / measure.threat.radius:.6g}")
    return Asked(row.checkpoint, size.suite(measure.attacks), faced, step)


def asked_certificates(row: Row, measure: Certified) -> AskedCertificates:
    """The certification in which a figure of a row is found."""
    assert not row.checkpoint.endswith("averaged"), "averaged weights are certified where they are selected only"
    return AskedCertificates(row.checkpoint, measure.sigma)


def network_name(training: Training, seed: int) -> str:
    """Name of a training with a seed."""
    return f"{training.name}-seed{seed}"


def write_configs(made: Plan) -> None:
    """Write the configuration of every training into ``configs`` of the plan's folder, for the commands to read."""
    for network in made.networks:
        if not network.file:
            write_text(config_path(made, network), to_yaml(replace(made.config(network), start="")))


def config_path(made: Plan, network: Planned) -> Path:
    """Where the configuration of a training is written."""
    return made.out / "configs" / f"{network.name}.yaml"


def commands(made: Plan) -> Iterator[str]:
    """One line for each training, audit and certification, for a shell: what starts from a run stands after it.

    They need what :func:`write_configs` writes.
    """
    for network in made.networks:
        folder = made.folder(network.name)
        if not network.file and network.start:
            start = made.config(network).start
            yield shlex.join(
                ["classwise", "finetune", start, "--recipe", str(config_path(made, network)), "--out", str(folder)]
            )
        elif not network.file:
            yield shlex.join(["classwise", "train", str(config_path(made, network)), "--out", str(folder)])
        for each in network.audits:
            words = ["classwise", "audit", network.file or str(folder), "--attacks", each.attacks]
            words += ["--norm", each.threat.norm, "--radius", str(each.threat.radius)]
            if each.step is not None:
                words += ["--step-size", str(each.step)]
            if each.threat.channels:
                words += ["--channels", *(f"{factor:g}" for factor in each.threat.channels)]
            if not each.threat.box:
                words.append("--no-box")
            if network.file:
                words += _file_words(network.config, audit_folder(made, network, each))
            elif each.checkpoint != "selected":
                words += ["--checkpoint", each.checkpoint]
            if made.size.per_class:
                words += ["--per-class", str(made.size.per_class)]
            yield shlex.join(words)
        for wanted in network.certificates:
            words = ["classwise", "certify", network.file or str(folder), "--sigma", f"{wanted.sigma:g}"]
            words += ["--every", str(made.size.every), "--n", str(made.size.votes)]
            out = certificates_folder(made, network, wanted)
            if network.file:
                words += _file_words(network.config, out)
            else:
                words += ["--checkpoint", wanted.checkpoint, "--out", str(out)]
            yield shlex.join(words)


def audit_folder(made: Plan, network: Planned, each: Asked) -> Path:
    """Where the audit of a file of weights is kept; a run keeps its own."""
    threat = f"{each.threat.norm}-{float(each.threat.radius):.4f}"
    threat += "".join(f"-{factor:g}" for factor in each.threat.channels) + ("" if each.threat.box else "-no-box")
    threat += "" if each.step is None else f"-step-{float(each.step):.4f}"
    return made.folder(network.name) / f"{each.attacks.replace('+', '-')}-{threat}"


def certificates_folder(made: Plan, network: Planned, each: AskedCertificates) -> Path:
    """Where a certification is kept."""
    rule = f"sigma-{each.sigma:g}-{each.checkpoint}-every-{made.size.every}-n-{made.size.votes}"
    return made.folder(network.name) / "certificates" / rule


def _file_words(config: TrainConfig, out: Path) -> list[str]:
    """What an audit or a certification of a file of weights has to be told."""
    words = ["--data", config.data.registered_name, "--network", _written(config.model), "--out", str(out)]
    folder = getattr(config.data, "folder", "")
    return [*words, "--data-dir", folder] if folder else words


def _written(model: ModelBuilder) -> str:
    """A network as ``--network`` takes it: its name and the fields that differ from their defaults."""
    changed = {key: value for key, value in vars(model).items() if value != getattr(type(model)(), key)}
    return ",".join([model.registered_name, *(f"{key}={to_plain(value)}" for key, value in changed.items())])


def _replaceable(experiment: Experiment) -> list[str]:
    """Names of trainings for which a file may be given: what others start from, and what is public."""
    found = [each for row in experiment.rows for each in row.chains()]
    starts = [each.start.name for each in found if each.start]
    return list(dict.fromkeys([*starts, *(each.name for each in found if each.public)]))


def _planned(training: Training, size: Size, seed: int, data_dir: Path | None, files: Mapping[str, str]) -> Planned:
    config = size.change(training.config)
    config = replace(config, seed=seed, data=_from(config.data, data_dir))
    if training.name in files:
        return Planned(training.name, config, file=files[training.name])
    if training.start is None:
        return Planned(network_name(training, seed), config)
    start = _planned(training.start, size, seed, data_dir, files)
    # Which images a file was trained on is not known, so a repair of it may hold out those that its method asks for.
    shared = [axis for axis in PROBLEM if not (start.file and axis == "split")]
    config = replace(config, **{axis: getattr(start.config, axis) for axis in shared})
    return Planned(network_name(training, seed), config, start=start.name)


def _from(data: DataSource, folder: Path | None) -> DataSource:
    """A data source that reads its official files from a folder, where it reads any."""
    if folder is None or not hasattr(data, "folder"):
        return data
    return replace(data, folder=str(folder.expanduser().resolve()))
