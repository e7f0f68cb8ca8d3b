"""``classwise audit``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api, registry
from classwise.attacks import Attack, attack_list
from classwise.cli.flags import parse
from classwise.configuration import from_plain, replace
from classwise.data import load
from classwise.evaluation import AuditResult
from classwise.evaluation.audit import SEAL
from classwise.models import ModelBuilder
from classwise.radius import Radius
from classwise.run import Run
from classwise.runs import RunDirectory
from classwise.threat import Norm, ThreatModel


@dataclass(frozen=True)
class Flags:
    """Attack a model and count, class by class, what withstands.

    The audit of a run is kept in its `audits` folder; of anything else where --out says.
    """

    model: tyro.conf.Positional[Path]
    """A run directory, a checkpoint folder, or a file of weights (then give --data and --network)."""
    data: str | None = None
    """Data set whose test images are used, such as cifar10; default: that of the run."""
    data_dir: Path | None = None
    """Folder of the data set's official files; default: the cache filled by `classwise data fetch`."""
    network: str | None = None
    """Network that a file of weights belongs to, such as resnet20."""
    norm: Norm | None = None
    """Norm of the threat model; default: that of the run, or linf."""
    radius: tuple[Radius, ...] = ()
    """One or several radii, such as 8/255; default: that of the run, or 8/255."""
    attacks: str = "pgd-20"
    """fgsm, pgd-STEPS, cw-STEPS, or several joined by +, whose worst case counts."""
    step_size: Radius | None = None
    """Length of a PGD step; default: a quarter of the radius."""
    per_class: int = 0
    """Test images of each class, the first ones; 0: all."""
    checkpoint: str = "selected"
    """Of a run: selected, best, averaged, last, start, or a number of epochs."""
    seed: int = 0
    """Seed of random starts."""
    batch_size: int = 256
    """Images of a micro-batch."""
    device: str = "auto"
    """Device such as cuda:1; auto takes the best there is."""
    out: Path | None = None
    """Folder for the audit's files."""
    report: Path | None = None
    """HTML file to write."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "audit", arguments)
    for path in flags.plugin:
        registry.load_plugin(path)
    if flags.out is not None and (flags.out / SEAL).is_file():
        raise ValueError(f"{str(flags.out)!r} holds an audit already: give another folder with --out")
    attacks = [_with_step(attack, flags.step_size) for attack in attack_list(flags.attacks)]
    if RunDirectory(flags.model).exists and flags.data is None:
        result = _audit_run(Run(flags.model), flags, attacks)
    else:
        result = _audit_other(flags, attacks)
    print(result)
    if result.folder is not None:
        print(f"Saved in {result.folder}")
    if flags.report is not None:
        print(f"Report: {result.report(flags.report).resolve()}")
    return 0


def _audit_run(run: Run, flags: Flags, attacks: list[Attack]) -> AuditResult:
    """Audit a checkpoint of a run on the run's own test images; kept in the run."""
    threats = _threats(flags, run.config.threat)
    result = run.audit(
        threat=threats,
        attacks=attacks,
        checkpoint=flags.checkpoint,
        per_class=flags.per_class,
        seed=flags.seed,
        batch_size=flags.batch_size,
        device=flags.device,
    )
    return result if flags.out is None else result.save(flags.out)


def _audit_other(flags: Flags, attacks: list[Attack]) -> AuditResult:
    """Audit any other weights, or a run on other data."""
    if flags.checkpoint != "selected":
        raise ValueError(
            "--checkpoint names a checkpoint of a run on its own data: give the checkpoint's folder instead"
        )
    if flags.data is None and flags.model.is_file():
        raise ValueError(f"{str(flags.model)!r} is a file of weights: say which images, for example --data cifar10")
    data = None
    if flags.data is not None:
        folder = {"folder": flags.data_dir} if flags.data_dir is not None else {}
        data = load(flags.data, **folder).test
        data = data.first_per_class(flags.per_class) if flags.per_class else data
    network = from_plain(ModelBuilder, flags.network, where="--network") if flags.network else None
    result = api.audit(
        flags.model,
        data,
        threat=_threats(flags, ThreatModel()),
        attacks=attacks,
        seed=flags.seed,
        batch_size=flags.batch_size,
        network=network,
        device=flags.device,
        split="test",
    )
    return result if flags.out is None else result.save(flags.out)


def _threats(flags: Flags, default: ThreatModel) -> list[ThreatModel]:
    """One threat model for each radius asked for."""
    norm = flags.norm or default.norm
    if not flags.radius and norm != default.norm:
        raise ValueError(f"--norm {norm} needs a --radius: the default {default.radius} is meant for {default.norm}")
    return [ThreatModel(norm=norm, radius=radius) for radius in flags.radius or (default.radius,)]


def _with_step(attack: Attack, step_size: Radius | None) -> Attack:
    return attack if step_size is None else replace(attack, step_size=step_size)
