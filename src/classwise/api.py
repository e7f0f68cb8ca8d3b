"""The verbs: train, finetune, audit, certify, compare. The command line calls these and nothing else."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classwise.attacks.base import Classifier
from classwise.attacks.suite import Attacks
from classwise.comparison import Overview, overview
from classwise.configuration import replace, to_plain
from classwise.data import ClassData, Dataset, GivenData, Roles
from classwise.data.duplicates import warn_of_duplicates
from classwise.data.imbalance import WORTH_SAYING, describe_balance, imbalance
from classwise.data.known_truth import warn_beyond
from classwise.data.roles import roles_of
from classwise.evaluation import AuditResult, Comparison, compare_audits, shards
from classwise.evaluation.admission import check_model
from classwise.evaluation.audit import run_audit
from classwise.evaluation.certificates import CertifyResult
from classwise.evaluation.certify import EVERY, every_kth, plan_certify, run_certify
from classwise.evaluation.check import Check
from classwise.evaluation.plan import plan_audit
from classwise.evaluation.sanity import full_checks
from classwise.evaluation.smoothing import Sampling, Stop
from classwise.lift import what_to_try
from classwise.models import GivenModel, ModelBuilder, weights_digest
from classwise.models.foreign import Weights
from classwise.progress import Progress, Silent, default_progress
from classwise.radius import Radius
from classwise.recipes import recipe as recipe_named
from classwise.run import Run
from classwise.runs import RunDirectory
from classwise.runs.atomic import write_json
from classwise.runs.environment import environment
from classwise.runs.events import EventLog
from classwise.subject import device_of, find_subject
from classwise.threat import ThreatModel, linf
from classwise.trained import find_model, run_facts
from classwise.training import Runtime, TrainConfig
from classwise.training.loop import Trainer
from classwise.training.runtime import Precision, full_fp32, search_precision

Threats = ThreatModel | Sequence[ThreatModel]


def train(
    config: TrainConfig,
    out: Path | str,
    *,
    data: Dataset | None = None,
    network: nn.Module | None = None,
    plugins: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Run:
    """Train; call again to resume; a finished run is returned as it is.

    Args:
        config: The experiment, such as ``classwise.recipe("digits-pgd-at")``.
        out: Run directory.
        data: A live data set; default: what ``config.data`` loads.
        network: A live network; default: what ``config.model`` builds, with the weights of ``config.start`` if any.
        plugins: Plug-in files that were loaded, to be kept with the run for the record.
        progress: Where progress is shown; default: the terminal.

    Raises:
        ValueError: The directory holds another run or is in use, parts do not fit, or the disk is full. Until
            training begins nothing is written but a lock file, so the mended call may use the same directory.
    """
    if data is not None:
        config = replace(config, data=data.source or GivenData(title=data.name, sha256=data.train.checksum()))
    if network is not None:
        config = replace(config, model=GivenModel(title=type(network).__name__, sha256=weights_digest(network)))
    directory = RunDirectory(out)
    runtime = Runtime(config.hardware)
    with directory.lock() if runtime.is_main else nullcontext():
        if runtime.is_main:
            directory.admit(config)
        runtime.barrier()
        if directory.status["state"] == "finished":
            return Run(out, data, network)
        if not config.epochs and not config.start and network is None:
            raise ValueError(
                f"repair {config.repair.registered_name!r} with 0 epochs trains nothing: give it a trained network, "
                f"classwise finetune MODEL --recipe {config.recipe or 'RECIPE'}"
            )
        data = data or config.data.load()
        warn_beyond(config.data, dict.fromkeys((config.threat, config.validation_threat)))
        roles = roles_of(data, config.split)
        progress = progress or default_progress()
        with runtime.session(config.seed):
            model = _network(config, roles, network)
            check_model(model, roles.validation, device_of(model))
            facts = {
                "model": to_plain(config.model),
                "data": to_plain(config.data),
                "class_names": list(data.class_names),
                "group_names": list(roles.train.group_names),
                "shape": list(roles.train.shape),
            }
            teacher = _teacher(config, roles)
            trainer = Trainer(config, directory, roles, model, runtime, facts, teacher)
            if runtime.is_main:
                directory.begin(config)
                _write_environment(directory, runtime)
                for plugin in plugins:
                    directory.keep_plugin(plugin)
                _write_roles(directory, roles, data)
                _say_imbalance(roles, config, progress)
            trainer.fit(progress)
    return Run(out, data, network)


def finetune(
    model: nn.Module | Run | Path | str,
    data: Dataset | None = None,
    *,
    recipe: str | TrainConfig = "faal-at",
    out: Path | str,
    network: ModelBuilder | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Run:
    """Train a robust network further, so that its weakest classes get stronger.

    Where that did not succeed on validation images, a warning says so, and :attr:`classwise.Run.lift` knows; the recipes of
    this package then hand out the start (see :class:`classwise.selection.NoWorse`).

    What describes the problem (data, split, network, threat model, augmentation, batch size, hardware) comes from the
    run the model belongs to, where it belongs to one; what describes the method comes from the recipe; ``changes``
    come last.

    Args:
        model: A live network on [0, 1] input, a run, a run directory, a checkpoint folder or a file of weights.
        data: Data set; default: that of the run, or of the recipe.
        recipe: Name of a recipe, or a configuration.
        out: Run directory of the repair.
        network: Architecture, needed for a file of weights.
        progress: Where progress is shown; default: the terminal.
        **changes: Fields of :class:`TrainConfig`, such as ``epochs=2``.

    Raises:
        ValueError: As for :func:`train`; or the model cannot be read.
    """
    config = recipe if isinstance(recipe, TrainConfig) else recipe_named(recipe)
    live = model if isinstance(model, nn.Module) else None
    if live is not None:
        config = replace(config, start="given")
    else:
        if network is not None:
            config = replace(config, model=network)
        assert not isinstance(model, nn.Module)
        config = repair_config(model.path if isinstance(model, Run) else model, config)
        if isinstance(model, Run):
            data = data or model.dataset
        if isinstance(config.model, GivenModel):
            if not isinstance(model, Run):
                raise ValueError(
                    f"the network of {str(model)!r} was handed over in Python: pass the Run, or the network itself"
                )
            live = model.model()
    run = train(replace(config, **changes), out, data=data, network=live, progress=progress)
    if run.lift is not None and not run.lift.is_success:
        warnings.warn(f"the repair did not succeed. {run.lift.told()} {what_to_try(run.config)}", stacklevel=2)
    return run


def audit(
    model: Classifier | Run | Path | str,
    data: ClassData | Dataset | None = None,
    *,
    threat: Threats | None = None,
    attacks: Attacks = "pgd-20",
    seed: int = 0,
    batch_size: int = 256,
    network: ModelBuilder | None = None,
    weights: Weights | None = None,
    device: str = "auto",
    split: str = "",
    precision: Precision = "auto",
    shard: str = "",
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Attack a model and count, class by class, what withstands.

    With ``out``, verdicts are kept as they come: call again to go on where an audit was interrupted, or to read it when
    it is finished.

    Args:
        model: A module or function from images in [0, 1] to logits, which is run where it is; or a run, a run
            directory, a checkpoint folder or a file of weights, which is put on ``device``.
        data: Images with labels; of a data set its test images. Default: those of the run.
        threat: One threat model or several radii. Default: that of the run, or l_inf 8/255.
        attacks: A suite such as "standard", a name such as "pgd-20" (see :func:`classwise.attacks.attack_list`), an
            attack, or a list of them whose worst case counts.
        seed: Seed of random starts, which are keyed by sample.
        batch_size: Images of a micro-batch.
        network: Architecture, needed for a file of weights.
        weights: Which weights of a file that holds "raw" and "averaged" ones; default: the averaged.
        device: Where a model that was read from disk is run.
        split: Role of the images, for the record; default: "test" for a data set or a run, "given" for live images.
        precision: Of the search: "exact" (fp32), "mixed" (bf16), or "auto": mixed where that is faster.
            What counts as broken is decided by the model itself in fp32 in every case.
        shard: One part of the images, such as "2/8"; see :func:`merge`.
        out: Folder for the audit's files; a part goes into a sub-folder of it.
        progress: Where progress is shown; default: the terminal.

    Raises:
        ValueError: The model, the data or the attack cannot be used, or ``out`` holds another audit; the message says
            how to mend it.
    """
    subject = find_subject(model, data, network, device, split, weights)
    images, config = subject.images, subject.config
    if threat is None:
        threat = config.threat if config is not None else linf("8/255")
    threats = (
        [threat] if isinstance(threat, ThreatModel) else list(threat) if isinstance(threat, Sequence) else [threat]
    )
    if not all(isinstance(each, ThreatModel) for each in threats):
        raise ValueError(f"threat {threat!r} is no threat model: write classwise.linf('8/255') or classwise.l2(0.5)")
    warn_beyond(data.source if isinstance(data, Dataset) else config.data if config is not None else None, threats)
    plan = plan_audit(
        images,
        model=subject.described,
        threats=threats,
        attacks=attacks,
        seed=seed,
        batch_size=batch_size,
        split=subject.split,
        precision=search_precision(precision, subject.model, images.batch(slice(0, 1), subject.device)[0]),
        shard=shard,
    )
    folder = shards.shard_folder(Path(out), shard) if out is not None else None
    with full_fp32():
        return run_audit(subject.model, images, plan, subject.device, progress or default_progress(), folder)


def check(
    model: Classifier | Run | Path | str,
    data: ClassData | Dataset | None = None,
    *,
    threat: ThreatModel | None = None,
    attacks: Attacks = "pgd-20",
    seed: int = 0,
    batch_size: int = 256,
    network: ModelBuilder | None = None,
    weights: Weights | None = None,
    device: str = "auto",
    split: str = "",
    progress: Progress | None = None,
) -> tuple[Check, ...]:
    """Look for what makes robust accuracy come out too high: all checks of ``docs/believable.md``.

    Runs small attacks on up to 100 images, as many of each class. The cheap half of the checks comes with every audit
    anyway, as ``AuditResult.checks``.

    Args:
        model: As for :func:`audit`, as all others.
        data: Images with labels.
        threat: Threat model.
        attacks: The attacks whose figures are to be believed.
        seed: Seed of random draws.
        batch_size: Images of a micro-batch.
        network: Architecture.
        weights: Which weights.
        device: Where to run.
        split: Role of the images.
        progress: Where progress is shown; default: the terminal.

    Raises:
        ValueError: The model or the data cannot be used.
    """
    subject = find_subject(model, data, network, device, split, weights)
    threat = threat or (subject.config.threat if subject.config is not None else linf("8/255"))
    plan = plan_audit(
        subject.images,
        model=subject.described,
        threats=[threat],
        attacks=attacks,
        seed=seed,
        batch_size=batch_size,
        split=subject.split,
    )
    with full_fp32(), torch.autocast(subject.device.type, enabled=False):
        return full_checks(subject.model, subject.images, plan, subject.device, progress or default_progress())


def merge(folder: Path | str) -> AuditResult:
    """Put the parts of an audit together that were made with ``shard``.

    Args:
        folder: What was given as ``out`` for every part; the whole is saved there.

    Raises:
        ValueError: A part is missing or unfinished, or they are parts of different audits.
    """
    return shards.merge(Path(folder))


def certify(
    model: Classifier | Run | Path | str,
    data: ClassData | Dataset | None = None,
    *,
    sigma: float | str,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    stop: Stop = "never",
    looks: int = 5,
    enough: float | str = 0,
    every: int = EVERY,
    seed: int = 0,
    batch_size: int = 1000,
    network: ModelBuilder | None = None,
    weights: Weights | None = None,
    device: str = "auto",
    split: str = "",
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> CertifyResult:
    """Certify l_2 radii by randomised smoothing, class by class.

    Args:
        model: As for :func:`audit`; best trained under noise of the same sigma.
        data: As for :func:`audit`.
        sigma: Standard deviation of the noise, in units of the pixel range.
        n0: Votes that choose the class.
        n: Votes, at most, that bound its probability.
        alpha: Greatest probability that a certificate is wrong.
        stop: When voting ends early; see :class:`classwise.evaluation.smoothing.Sampling`, also for the two that follow.
        looks: Looks of the stopping rules.
        enough: Certified radius at which "split-alpha" ends.
        every: Every how many-th image of each class is certified; 1: all.
        seed: Seed of the noise, which is keyed by sample.
        batch_size: Noisy copies of a micro-batch.
        network: As for :func:`audit`.
        weights: As for :func:`audit`.
        device: As for :func:`audit`.
        split: As for :func:`audit`.
        out: Folder for the result; finished samples are kept there as they are found, and the same call goes on from
            them.
        progress: Where progress is shown; default: the terminal.

    Raises:
        ValueError: The model or the data cannot be used, or the folder holds something else.
    """
    subject = find_subject(model, data, network, device, split, weights)
    chosen = every_kth(subject.images, every)
    sampling = Sampling(sigma=Radius(sigma), n0=n0, n=n, alpha=alpha, stop=stop, looks=looks, enough=Radius(enough))
    plan = plan_certify(
        chosen, model=subject.described, sampling=sampling, seed=seed, batch_size=batch_size, split=subject.split
    )
    folder = Path(out) if out is not None else None
    with full_fp32(), torch.autocast(subject.device.type, enabled=False):
        return run_certify(subject.model, chosen, plan, subject.device, progress or default_progress(), folder)


def compare(before: AuditResult | Path | str, after: AuditResult | Path | str) -> Comparison:
    """Compare two audits of the same samples, paired per sample.

    Args:
        before: An audit, or the folder of one.
        after: The other one.

    Raises:
        ValueError: They were not made on the same samples in the same way.
    """
    return compare_audits(_audit_of(before), _audit_of(after))


def compare_many(paths: Sequence[Path | str], *, baseline: str = "", force: bool = False) -> Overview:
    """Compare any number of runs and audits: a row for every recipe, seeds aggregated, tested against a baseline.

    Args:
        paths: Run directories, audit folders, and folders that are searched for both.
        baseline: Row that the others are tested against; default: the one that most others started from, else the first.
        force: Whether what is not comparable is shown all the same, marked as such.

    Raises:
        ValueError: There is nothing to compare, or it is not comparable: other test set, threat model, suite or precision.
    """
    return overview(paths, baseline=baseline, force=force)


def repair_config(start: Path | str, method: TrainConfig, keep: Sequence[str] = ()) -> TrainConfig:
    """The configuration of a repair: the problem of the run that the start belongs to, the method of a recipe.

    Fields in which the method differs from the recipe it names were set by hand, and stay.

    Args:
        start: A run directory, a checkpoint folder or a file of weights.
        method: What the recipe says.
        keep: Further axes that stay as the method has them.

    Raises:
        ValueError: The start does not exist.
    """
    if not Path(start).exists():
        raise ValueError(
            f"{str(start)!r} does not exist: give a run directory, a checkpoint folder or a file of weights"
        )
    as_named = recipe_named(method.recipe) if method.recipe else method
    by_hand = {name for name in vars(method) if getattr(method, name) != getattr(as_named, name)}
    facts = {name: value for name, value in run_facts(Path(start)).items() if name not in {*keep, *by_hand}}
    return replace(method, start=str(Path(start).resolve()), **facts)


def _audit_of(given: AuditResult | Path | str) -> AuditResult:
    return given if isinstance(given, AuditResult) else AuditResult.load(given)


def _network(config: TrainConfig, roles: Roles, live: nn.Module | None) -> nn.Module:
    """The network with its first weights."""
    if live is not None:
        return copy.deepcopy(live)
    classes, shape = roles.train.num_classes, roles.train.shape
    if config.start:
        return find_model(config.start, config.model, classes, shape).network
    return config.model.build(classes, shape)


def _teacher(config: TrainConfig, roles: Roles) -> nn.Module | None:
    """The network that the objective learns from, where it learns from one."""
    if not config.teacher:
        return None
    teacher = find_model(config.teacher, None, roles.train.num_classes, roles.train.shape).network
    try:
        check_model(teacher, roles.validation, device_of(teacher))
    except ValueError as error:
        raise ValueError(
            f"the teacher {config.teacher!r} cannot teach here, name one that was trained on the same classes: {error}"
        ) from error
    return teacher


def _write_environment(directory: RunDirectory, runtime: Runtime) -> None:
    """What the run began on; what it went on with later is appended to ``resumes.jsonl``."""
    facts = environment() | {"device": str(runtime.device), "precision": runtime.precision}
    path = directory.path / "environment.json"
    if path.exists():
        EventLog(directory.path / "resumes.jsonl").append("resume", **facts)
    else:
        write_json(path, facts)


def _write_roles(directory: RunDirectory, roles: Roles, data: Dataset) -> None:
    """Index lists and checksums of the roles, and images that are in both, for the record."""
    named = {"train": roles.train, "validation": roles.validation}
    facts: dict[str, Any] = {
        name: {"sha256": part.checksum(), "index": part.index.tolist()} for name, part in named.items()
    }
    if data.held_out is not None:
        facts["held_out"] = vars(data.held_out)
    facts["duplicates"] = [vars(each) for each in warn_of_duplicates(named, data.called)]
    write_json(directory.path / "splits.json", facts)


def _say_imbalance(roles: Roles, config: TrainConfig, progress: Progress) -> None:
    """A line on standard error where classes are imbalanced and nothing is done about it."""
    if imbalance(roles.train) >= WORTH_SAYING and not config.balanced and not isinstance(progress, Silent):
        print(describe_balance(roles.train), file=sys.stderr)
