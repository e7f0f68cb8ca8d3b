"""``classwise audit``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from classwise import api, registry
from classwise.attacks import Attack, attack_list
from classwise.cli import CHECK_FAILED
from classwise.cli.flags import named_data, parse
from classwise.cli.gate import parse_threshold, unmet
from classwise.configuration import replace
from classwise.data import ClassData
from classwise.evaluation import AuditResult
from classwise.evaluation.shards import shard_folder
from classwise.metrics import sample_plan
from classwise.models.foreign import Weights
from classwise.models.named import network_named
from classwise.picked import picked_on_test
from classwise.radius import Radius
from classwise.report.formats import Format, formatted
from classwise.run import Run
from classwise.runs import RunDirectory
from classwise.threat import Norm, ThreatModel
from classwise.trained import run_facts
from classwise.training.runtime import Precision


@dataclass(frozen=True)
class Flags:
    """Attack a model and count, class by class, what withstands.

    The audit of a run is kept in its `audits` folder; of anything else where --out says. One that was interrupted goes
    on where it was when the same command is given again.
    """

    model: tyro.conf.Positional[Path]
    """A run directory, a checkpoint folder, or a file of weights (then give --data and --network)."""
    weights: Weights | None = None
    """Of a file that holds both: raw or averaged (EMA) weights; default: the averaged ones."""
    data: str | None = None
    """Data set whose test images are used, such as cifar10, or folder,size=32,groups=site; default: that of the run."""
    data_dir: Path | None = None
    """Folder of the data set's files; default: the cache filled by `classwise data fetch`."""
    network: str | None = None
    """Network that a file of weights belongs to: a name such as resnet20, or import:PACKAGE.MODULE:FUNCTION for your own;
    docs/audits.md lists all forms."""
    norm: Norm | None = None
    """Norm of the threat model; default: the threat model of the run, but for what is given, or linf."""
    radius: tuple[Radius, ...] = ()
    """One or several radii, such as 8/255; default: that of the run, or 8/255."""
    channels: tuple[float, ...] = ()
    """Only for linf: factors of the radius, one for each channel; 1: none, whatever the run has. With deviations of channels
    the radius is one of standardised images. Default: those of the run, where the norm is its own."""
    box: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep perturbed images in the range [0, 1]; default: as the run has it, where the norm is its own, or yes."""
    no_box: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Let perturbed images leave that range; only for linf."""
    attacks: str = "pgd-20"
    """A suite (quick, standard, plus), an attack (pgd-STEPS, cw-STEPS, apgd-ce, apgd-t, fab-t, square, …), or several
    joined by +, whose worst case counts. standard is AutoAttack's standard version."""
    step_size: Radius | None = None
    """Length of a PGD step; default: a quarter of the radius."""
    per_class: int = 0
    """Test images of each class, the first ones; 0: all."""
    checkpoint: str = "selected"
    """Of a run: selected, repaired, best, averaged, last, final, start, or a number of epochs (12, 12-averaged)."""
    picked_on_test: bool = False
    """Of a run: audit every kept checkpoint and report the one that does best on the test images, as some published code
    does. Its figures are too high, and the first line says so; for comparison with published rows only."""
    seed: int = 0
    """Seed of random starts."""
    batch_size: int = 256
    """Images of a micro-batch."""
    precision: Precision = "auto"
    """Of the search: exact (fp32), mixed (bf16), auto (mixed where that is faster). What counts as broken
    is decided by the model itself in fp32 in every case."""
    shard: str = ""
    """One part of the images, such as 2/8, for several machines; `classwise merge` puts the parts together."""
    device: str = "auto"
    """Device such as cuda:1; auto takes the best there is."""
    out: Path | None = None
    """Folder for the audit's files, to which verdicts are added while it runs (the audit of a run is kept in the run, and
    copied here in the end)."""
    format: Format = "text"
    """What is printed: text, json, csv, markdown or latex."""
    fail_under: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIGURE=FRACTION, such as worst-robust=0.30: exit with code 3 where the figure at the first radius is lower; figures
    are clean, mean-robust, worst-robust, worst-fifth-robust; may be repeated."""
    plan: float | None = None
    """Attack nothing: say how many images of each class intervals of this width need (0.1: ten points)."""
    report: Path | None = None
    """HTML file to write."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "audit", arguments)
    for path in flags.plugin:
        registry.load_plugin(path)
    thresholds = [parse_threshold(each) for each in flags.fail_under]
    if flags.plan is not None:
        print(_planned(flags, flags.plan))
        return 0
    attacks = [_with_step(attack, flags.step_size) for attack in attack_list(flags.attacks)]
    if RunDirectory(flags.model).exists and flags.data is None:
        result = _audit_run(Run(flags.model), flags, attacks)
    else:
        result = _audit_other(flags, attacks)
    print(formatted(result, flags.format))
    told = sys.stdout if flags.format == "text" else sys.stderr
    if result.folder is not None:
        print(f"Saved in {result.folder}", file=told)
    if flags.report is not None:
        print(f"Report: {result.report(flags.report).resolve()}", file=told)
    below = unmet(result, thresholds)
    for sentence in below:
        print(f"classwise audit: {sentence}", file=sys.stderr)
    return CHECK_FAILED if below else 0


def _audit_run(run: Run, flags: Flags, attacks: list[Attack]) -> AuditResult:
    """Audit a checkpoint of a run on the run's own test images; kept in the run."""
    given = [name for name in ("network", "weights", "data_dir") if getattr(flags, name) is not None]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise ValueError(
            f"{flag} is for files of weights and other data: a run knows its own; leave it out, or add --data"
        )
    how: dict[str, Any] = {
        "threat": _threats(flags, run.config.threat),
        "attacks": attacks,
        "per_class": flags.per_class,
        "seed": flags.seed,
        "batch_size": flags.batch_size,
        "device": flags.device,
        "precision": flags.precision,
    }
    if flags.picked_on_test:
        if flags.shard or flags.checkpoint != "selected":
            raise ValueError(
                "--picked-on-test audits all checkpoints and all images: leave --checkpoint and --shard out"
            )
        result = picked_on_test(run, **how)
    else:
        result = run.audit(checkpoint=flags.checkpoint, shard=flags.shard, **how)
    return result if flags.out is None else result.save(shard_folder(flags.out, flags.shard))


def _audit_other(flags: Flags, attacks: list[Attack]) -> AuditResult:
    """Audit any other weights, or a run on other data."""
    if (flags.checkpoint != "selected" or flags.picked_on_test) and flags.model.exists():
        raise ValueError(
            "--checkpoint and --picked-on-test name a checkpoint of a run on its own data: give the checkpoint's folder instead"
        )
    if flags.data is None and flags.model.is_file():
        raise ValueError(f"{str(flags.model)!r} is a file of weights: say which images, for example --data cifar10")
    facts = run_facts(flags.model) if flags.model.exists() else {}
    data = _images(flags) or (_chosen(flags, facts["data"].load().test) if facts else None)
    network = network_named(flags.network, where="--network") if flags.network else None
    return api.audit(
        flags.model,
        data,
        threat=_threats(flags, facts.get("threat", ThreatModel())),
        attacks=attacks,
        seed=flags.seed,
        batch_size=flags.batch_size,
        network=network,
        weights=flags.weights,
        device=flags.device,
        split="test",
        precision=flags.precision,
        shard=flags.shard,
        out=flags.out,
    )


def _images(flags: Flags) -> ClassData | None:
    """The test images that were named, if any were."""
    data = named_data(flags.data, flags.data_dir)
    return _chosen(flags, data.test) if data is not None else None


def _chosen(flags: Flags, data: ClassData) -> ClassData:
    return data.first_per_class(flags.per_class) if flags.per_class else data


def _planned(flags: Flags, width: float) -> str:
    """How many images intervals of a width need, and how many there are."""
    data = _images(flags)
    if data is None:
        if not RunDirectory(flags.model).exists:
            raise ValueError("--plan needs to know the classes: name the images, for example --data cifar10")
        data = Run(flags.model).dataset.test
    there = torch.bincount(data.groups, minlength=data.num_groups)
    least = f"{data.name} has {int(there.min())} to {int(there.max())} test images of a class"
    return f"{sample_plan(data.num_groups, 0.5, width)}\n{least}; accuracies far from 50 % need fewer."


def _threats(flags: Flags, default: ThreatModel) -> list[ThreatModel]:
    """One threat model for each radius asked for, of the run's own form where the norm is its own and nothing else is said."""
    norm = flags.norm or default.norm
    if not flags.radius and norm != default.norm:
        raise ValueError(f"--norm {norm} needs a --radius: the default {default.radius} is meant for {default.norm}")
    if flags.box and flags.no_box:
        raise ValueError("--box and --no-box contradict each other: give one of them")
    kept = default if norm == default.norm else ThreatModel()
    channels = () if set(flags.channels) == {1.0} else flags.channels or kept.channels
    box = not flags.no_box and (kept.box or flags.box)
    radii = flags.radius or (default.radius,)
    return [ThreatModel(norm=norm, radius=radius, channels=channels, box=box) for radius in radii]


def _with_step(attack: Attack, step_size: Radius | None) -> Attack:
    return attack if step_size is None else replace(attack, step_size=step_size)
