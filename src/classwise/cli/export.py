"""``classwise export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import registry
from classwise.cli.flags import parse
from classwise.exported import Form, export
from classwise.run import Run


@dataclass(frozen=True)
class Flags:
    """Write the network of a run for other programs, with its facts and the audits of its weights."""

    run: tyro.conf.Positional[Path]
    """A run directory."""
    out: tyro.conf.Positional[Path]
    """Folder to write; several formats of the same weights may share one."""
    format: Form = "safetensors"
    """safetensors (weights and facts.json), onnx (the classifier, images in [0, 1] to logits) or huggingface (the weights
    with a model card)."""
    checkpoint: str = "selected"
    """selected, repaired, best, averaged, last, final, start, or a number of epochs (12, 12-averaged)."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "export", arguments)
    for plugin in flags.plugin:
        registry.load_plugin(plugin)
    written = export(Run(flags.run), flags.out, flags.format, flags.checkpoint)
    print(f"{', '.join(written.files)} in {written.folder.resolve()}")
    if written.audits:
        suites = ", ".join(dict.fromkeys(each.plan.suite for each in written.audits))
        print(
            f"Class tables of {len(written.audits)} audit{'s' * (len(written.audits) > 1)} ({suites}) are part of it."
        )
    else:
        which = "" if flags.checkpoint == "selected" else f" --checkpoint {flags.checkpoint}"
        print(
            "These weights were not audited, so no figures are part of it. "
            f"Next: classwise audit {flags.run}{which}, then the same export again"
        )
    return 0
