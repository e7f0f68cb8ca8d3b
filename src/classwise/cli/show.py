"""What the commands print when they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from classwise.lift import what_to_try
from classwise.run import Run
from classwise.runs.acted import action
from classwise.runs.checkpoints import read_meta
from classwise.runs.repaired import told
from classwise.trained import trained_best


def start_summary(run: Run) -> str:
    """How the start model of a repair did on validation images."""
    entry = _logged(run, "start")
    figures = f"Start model, {_validation(entry['validation']['raw'], run.class_names)}"
    if not Path(run.config.start).is_file():
        return figures
    return f"{figures} If it was trained on these images elsewhere, its figures here are too high."


def run_summary(run: Run) -> str:
    """Which epoch was selected, how it did on validation images, what a repair made of it, and what to do next."""
    return "\n".join([*_trained(run), *_repaired(run), *_lifted(run), f"Next: classwise audit {run.path}"])


def _trained(run: Run) -> list[str]:
    """Lines about training; none where the run only repairs."""
    if not run.config.epochs:
        return []
    folder, averaged = trained_best(run.directory)
    did = action(run.config.policy.registered_name, run.history, run.config.policy.steered())
    if folder.name == "0":
        return [
            f"Selected: the weights of the start, none of those after {len(run.history)} epochs.",
            *([did] if did else []),
        ]
    entry = _logged(run, "epoch", int(folder.name) - 1)
    which = "averaged" if averaged else "raw"
    validation = _validation(entry["validation"][which], run.class_names)
    lines = [f"Selected: {which} weights after epoch {folder.name} of {len(run.history)}, {validation}"]
    if run.directory.status.get("stopped_by_policy"):
        lines.append(f"Stopped after {len(run.history)} of {run.config.epochs} epochs: the policy's constraints hold.")
    average = run.config.averaging.registered_name
    if average != "none" and run.directory.checkpoints.pointed("averaged") is None:
        lines.append(f"The average {average} took in no epoch: none began late enough, or none passed its gate.")
    scores = entry["scores"]
    if averaged and max(each["scores"]["best"] for each in run.history) > scores["averaged"]:
        lines.append("The raw weights scored higher on validation images: to take those, --checkpoint best.")
    return [*lines, *([did] if did else [])]


def _repaired(run: Run) -> list[str]:
    """Lines about a repair without training; none where there is none."""
    if not run.repair:
        return []
    meta = read_meta(run.checkpoint()[0])
    return [told(run.repair, meta["class_names"], meta["group_names"])]


def _lifted(run: Run) -> list[str]:
    """Lines about the weakest class before and after; none where the run did not start from a network."""
    lift = run.lift
    if lift is None:
        return []
    return [lift.told(), *([] if lift.is_success else [what_to_try(run.config)])]


def _logged(run: Run, event: str, epoch: int | None = None) -> dict[str, Any]:
    """The last event of a kind, of one epoch where one is named."""
    log = run.directory.events
    found = [each for each in log.read(event) if epoch is None or each.get("epoch") == epoch]
    if not found:
        what = event if epoch is None else f"{event} {epoch}"
        raise ValueError(
            f"{str(log.path)!r} no longer tells of {what!r}: restore the file; the run's checkpoints can be audited without it"
        )
    return found[-1]


def _validation(table: dict[str, list[float]], names: tuple[str, ...]) -> str:
    robust, clean = table["robust"], table["clean"]
    worst = min(range(len(robust)), key=robust.__getitem__)
    return (
        f"on {int(sum(table['n']))} validation images: clean {100 * sum(clean) / len(clean):.1f} %, "
        f"robust {100 * sum(robust) / len(robust):.1f} %, weakest class {names[worst]} at {100 * robust[worst]:.1f} %."
    )
