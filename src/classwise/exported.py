"""The result of a run, written for other programs and people: weights, facts, model card."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from torch import nn

from classwise import __version__
from classwise.configuration import from_plain, to_plain
from classwise.evaluation.result import AuditResult
from classwise.models.builder import ModelBuilder
from classwise.models.export import FACTS, FORMAT, ONNX, WEIGHTS, network_facts, read_facts, write_onnx, write_weights
from classwise.models.given import weights_digest
from classwise.run import Run
from classwise.runs import checkpoints
from classwise.runs.atomic import write_json, write_text
from classwise.runs.repaired import epochs_of, repaired_by, start_kept

Form = Literal["safetensors", "onnx", "huggingface"]
CARD = "README.md"

_ENVIRONMENT = ("classwise", "python", "torch", "search")
"""What of an audit's environment concerns its figures; the rest tells of a machine and its folders."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        folder: Where.
        files: Names of the files in it.
        audits: The audits of the exported weights, which are part of it.
    """

    folder: Path
    files: tuple[str, ...]
    audits: tuple[AuditResult, ...]


def export(run: Run, out: Path | str, form: Form = "safetensors", checkpoint: str = "selected") -> Exported:
    """Write a checkpoint of a run for other programs, with the audits of these very weights that lie in the run.

    Every form has ``facts.json``: architecture, classes, normalisation, how it was trained, and the class tables of the
    audits with number of images, intervals, threat model, attacks, precision and split. Absolute paths are cut to their
    last part. Several forms of the same weights may share a folder.

    Args:
        run: The run.
        out: Folder; new, empty, or an earlier export of the same weights.
        form: "safetensors": the weights; "onnx": the classifier, images in [0, 1] to logits; "huggingface": the weights,
            ``config.json``, ``preprocessor_config.json`` and a model card with the class tables.
        checkpoint: See :meth:`Run.checkpoint`.

    Raises:
        ValueError: The form is unknown, there is no such checkpoint, the folder holds something else, or ONNX's packages
            are missing.
    """
    if form not in ("safetensors", "onnx", "huggingface"):
        raise ValueError(f"format {form!r} is unknown: safetensors, onnx or huggingface")
    out = Path(out)
    source, averaged = run.checkpoint(checkpoint)
    meta, network = checkpoints.read_meta(source), run.model(checkpoint)
    shape, digest = tuple(meta["shape"]), weights_digest(network)
    earlier = _admit(out, digest)
    audits = _audits(run, digest)
    builder: ModelBuilder = from_plain(ModelBuilder, meta["model"], where=f"{source}/meta.json: model")
    facts: dict[str, Any] = {
        "format": FORMAT,
        "classwise": __version__,
        "name": run.path.resolve().name,
        **network_facts(network, builder, tuple(meta["class_names"]), shape),
        "groups": list(meta["group_names"]),
        "weights": {
            "which": f"{'averaged' if averaged else 'raw'}{repaired_by(source)}{start_kept(run.directory, source)}",
            "epochs": epochs_of(source),
            "digest": digest,
        },
        "training": {"recipe": run.config.recipe, "configuration": portable(to_plain(run.config))},
        "audits": [_audit_facts(each) for each in audits],
    }
    facts["files"] = earlier | _write(network, facts, out, form)
    if form == "huggingface":
        from classwise.report.card import model_card

        write_text(out / CARD, model_card(facts, audits))
    write_json(out / FACTS, facts)  # last: a folder without it is no export
    return Exported(out, tuple(sorted(each.name for each in out.iterdir() if each.is_file())), audits)


def portable(value: Any) -> Any:
    """Plain values as they may leave this machine: absolute paths cut to their last part, infinities as words for JSON."""
    if isinstance(value, dict):
        return {key: portable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [portable(each) for each in value]
    if isinstance(value, str):
        kind = next((each for each in (PurePosixPath, PureWindowsPath) if each(value).is_absolute()), None)
        return kind(value).name if kind else PurePosixPath(value).name if value.startswith("~") else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _write(network: nn.Module, facts: dict[str, Any], out: Path, form: Form) -> dict[str, str]:
    """Write the network; returns the SHA-256 of its file by name."""
    size = facts["input"]
    if form == "onnx":
        notes = {name: json.dumps(facts[name]) for name in ("classes", "architecture", "input", "normalisation")}
        shape = (size["channels"], size["height"], size["width"])
        return {ONNX: write_onnx(network, shape, out / ONNX, notes)}
    written = {WEIGHTS: write_weights(network, out / WEIGHTS)}
    if form == "huggingface":
        names = facts["classes"]
        settings = {
            "model_type": "classwise",
            "architectures": [type(network).__name__],
            "classwise": facts["architecture"],
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
            "num_channels": size["channels"],
            "image_size": [size["height"], size["width"]],
        }
        write_json(out / "config.json", settings)
        preparing = {
            "do_resize": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": False,  # the network does that itself
            "size": {"height": size["height"], "width": size["width"]},
        }
        write_json(out / "preprocessor_config.json", preparing)
    return written


def _admit(out: Path, digest: str) -> dict[str, str]:
    """Files of an earlier export of the same weights, which stay."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    if not (out / FACTS).is_file():
        raise ValueError(f"{str(out)!r} is not empty and holds no export: give another folder")
    facts = read_facts(out)
    if facts["weights"]["digest"] != digest:
        raise ValueError(f"{str(out)!r} holds an export of other weights ({facts['name']}): give another folder")
    return dict(facts["files"])


def _audits(run: Run, digest: str) -> tuple[AuditResult, ...]:
    """The finished audits of these weights; the names of their folders end on the weights' digest."""
    found = []
    for seal in sorted(run.path.glob(f"audits/*-{digest[:8]}/summary.json")):
        try:
            found.append(AuditResult.load(seal.parent))
        except ValueError as error:
            warnings.warn(f"one audit is left out: {error}", stacklevel=3)
    return tuple(found)


def _audit_facts(audit: AuditResult) -> dict[str, Any]:
    """An audit's summary, each table with what it holds for."""
    summary = portable(audit.to_dict())
    plan = audit.plan
    held = {"data": plan.data, "split": plan.split, "suite": plan.suite, "precision": plan.precision, "seed": plan.seed}
    summary["tables"] = [held | each for each in summary["tables"]]
    summary["environment"] = {name: audit.environment[name] for name in _ENVIRONMENT if name in audit.environment}
    return dict(summary)
