"""One offline HTML file about audits, a comparison and runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from classwise.configuration import from_plain
from classwise.evaluation.compare import Comparison
from classwise.evaluation.result import AuditResult
from classwise.lift import lift_of
from classwise.metrics import ClassTable
from classwise.report import figures, phrasing
from classwise.report.images import ExampleImage, example_images
from classwise.report.templating import templates
from classwise.runs import RunDirectory
from classwise.runs.acted import action
from classwise.runs.atomic import write_text
from classwise.runs.checkpoints import read_meta
from classwise.runs.repaired import told
from classwise.threat import ThreatModel


@dataclass(frozen=True)
class AuditView:
    """An audit as the page shows it.

    Args:
        label: Its name in this report, which no other audit has.
        result: The audit.
        examples: Pictures of broken images of its weakest class.
        environment: What it ran on, as text.
    """

    label: str
    result: AuditResult
    examples: Sequence[ExampleImage]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Panel:
    """Class tables that may stand side by side: same images, classes, attacks, precision and threat model.

    Args:
        conditions: All of these in words.
        bars: Their figure, SVG.
        tables: The tables, by label of the audit.
    """

    conditions: str
    bars: Markup
    tables: Mapping[str, ClassTable]


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it.

    Args:
        name: Name of its folder.
        state: "running", "finished" or "new".
        epochs: Epochs done.
        conditions: What the validation figures hold for, in words.
        action: What its class policy did, a repair without training, and what became of the weakest class of the network it
            started from, in sentences; empty where it has none of them.
        curves: SVG figures with their captions; empty before the first epoch is done.
        validation: Weights, epochs done (0: the start itself), weakest class and its accuracy, mean over classes, for every
            selected epoch.
        command: Repeats the run.
        configuration: YAML text.
        environment: What it ran on, as text.
    """

    name: str
    state: str
    epochs: int
    conditions: str
    action: str
    curves: Sequence[tuple[str, Markup]]
    validation: Sequence[tuple[str, int, str, float, float]]
    command: str
    configuration: str
    environment: Mapping[str, str]


def write_report(
    path: Path,
    *,
    audits: Sequence[AuditResult],
    comparison: Comparison | None = None,
    runs: Sequence[RunDirectory] = (),
    title: str = "",
) -> Path:
    """Write one HTML file that needs nothing else: no network, no other file.

    Args:
        path: The file; it is replaced in one step.
        audits: Audits, in the order in which they are shown; those of the comparison are added where they are missing.
        comparison: Paired comparison of two audits.
        runs: Runs whose training is shown.
        title: Heading; default: made from the data set, or from the first run.

    Returns:
        The path.

    Raises:
        ValueError: There is nothing to report, a folder is no run directory, or the file cannot be written.
    """
    for run in runs:
        run.require()
    shown = list(audits)
    if comparison is not None:
        shown += [each for each in (comparison.before, comparison.after) if all(each is not one for one in shown)]
    if not shown and not runs:
        raise ValueError("nothing to report: give at least one audit or one run")
    views = _audit_views(shown)
    page = (
        templates()
        .get_template("report.html.j2")
        .render(
            title=title or f"Class-wise robustness: {shown[0].plan.data if shown else runs[0].path.name}",
            audits=views,
            panels=_panels(views),
            comparison=comparison,
            runs=[_run_view(run) for run in runs],
        )
    )
    write_text(path, page)
    return path


def _audit_views(audits: Sequence[AuditResult]) -> list[AuditView]:
    views: list[AuditView] = []
    for result in audits:
        label, taken = result.plan.model, {view.label for view in views}
        number = 2
        while label in taken:
            label, number = f"{result.plan.model} #{number}", number + 1
        # Labels have names here only where the classes of the tables are the labels themselves.
        named = np.array_equal(result.outcomes.group, result.outcomes.label)
        pictures = example_images(result.examples, result.plan.class_names if named else ())
        views.append(AuditView(label, result, pictures, _as_text(result.environment)))
    return views


def _panels(views: Sequence[AuditView]) -> list[Panel]:
    """Tables of audits under equal conditions go side by side, others apart."""
    groups: dict[tuple[Any, ...], dict[str, ClassTable]] = {}
    for view in views:
        plan = view.result.plan
        for radius, threat in enumerate(plan.threats):
            key = (phrasing.conditions(plan, threat), plan.data_sha256, plan.class_names)
            groups.setdefault(key, {})[view.label] = view.result.table(radius)
    return [Panel(key[0], Markup(figures.class_bars(tables)), tables) for key, tables in groups.items()]


def _run_view(run: RunDirectory) -> RunView:
    events = run.events.read("epoch")
    text = (run.path / "config.yaml").read_text(encoding="utf-8")
    environment = run.path / "environment.json"
    facts = json.loads(environment.read_text(encoding="utf-8")) if environment.is_file() else {}
    curves: list[tuple[str, Markup]] = []
    selected: list[tuple[str, int, str, float, float]] = []
    if events:
        names = _class_names(run, len(events[-1]["validation"]["raw"]["robust"]))
        curves = [
            ("Robust accuracy on validation images, and training loss", Markup(figures.training_curves(events))),
            ("Robust accuracy of every class on validation images", Markup(figures.class_curves(events, names))),
        ]
        knobs = figures.knob_curves(events, names)
        if knobs is not None:
            curves.append(("Class knobs during each epoch; 1 is neutral", Markup(knobs)))
        selected = _selected(events, run.events.read("start"), names)
    policy = yaml.safe_load(text).get("policy", {}).get("name", "uniform")
    return RunView(
        name=run.path.resolve().name,
        state=run.status["state"],
        epochs=len(events),
        conditions=_validation_conditions(yaml.safe_load(text), events),
        action=" ".join(each for each in (action(policy, events), _repair(run), _lifted(run)) if each),
        curves=curves,
        validation=selected,
        command=f"classwise train {shlex.quote(str(run.path / 'config.yaml'))} --out NEW",
        configuration=text,
        environment=_as_text(facts),
    )


def _repair(run: RunDirectory) -> str:
    """What a repair without training found; empty where there was none, or the facts of the last checkpoint are gone."""
    found, last = run.events.read("repair"), run.checkpoints.pointed("last")
    if not found or last is None or not run.checkpoints.path(last).is_dir():
        return ""
    meta = read_meta(run.checkpoints.path(last))
    return told(found[-1], meta["class_names"], meta["group_names"])


def _lifted(run: RunDirectory) -> str:
    """What became of the weakest class of the start; empty where there is no start, or a checkpoint is gone."""
    last = run.checkpoints.pointed("last")
    if last is None or not run.checkpoints.path(last).is_dir():
        return ""
    lift = lift_of(run)
    return lift.told() if lift is not None else ""


def _class_names(run: RunDirectory, groups: int) -> list[str]:
    """Names as the last checkpoint has them, numbers where it is gone."""
    last = run.checkpoints.pointed("last")
    if last is not None and run.checkpoints.path(last).is_dir():
        names = read_meta(run.checkpoints.path(last)).get("group_names", [])
        if len(names) == groups:
            return list(names)
    return [f"class {i}" for i in range(groups)]


def _selected(
    events: Sequence[dict[str, Any]], begun: Sequence[dict[str, Any]], names: Sequence[str]
) -> list[tuple[str, int, str, float, float]]:
    found = []
    for score, weights in (("best", "raw"), ("averaged", "averaged")):
        epochs = figures.selected_epoch(events, score)
        if epochs is None:
            continue
        if not epochs and "averaged" in events[-1]["selected"]:
            continue  # averaged weights are handed out, and no raw ones came up to the start
        event = next(each for each in events if each["epoch"] + 1 == epochs) if epochs else begun[-1]
        robust = np.array(event["validation"][weights]["robust"], dtype=np.float64)
        weakest = int(np.nanargmin(robust))
        found.append((weights, epochs, names[weakest], float(robust[weakest]), float(np.nanmean(robust))))
    return found


def _validation_conditions(config: Mapping[str, Any], events: Sequence[dict[str, Any]]) -> str:
    """What the figures of a run hold for, read from its configuration as plain text, without any plug-in."""
    attack, written = config.get("validation_attack", {}), dict(config.get("threat", {}))
    radius = config.get("validation_radius") or written.get("radius")
    threat = from_plain(ThreatModel, written | ({"radius": radius} if radius else {}))
    steps = f"-{attack['steps']}" if "steps" in attack else ""
    counted = f", n = {sum(events[-1]['validation']['raw']['n'])}" if events else ""
    return (
        f"{config.get('data', {}).get('name', 'data')}/validation{counted}, {threat}, "
        f"{attack.get('name')}{steps}, seed {config.get('seed')}, validation fp32, "
        f"training precision {config.get('hardware', {}).get('precision')}"
    )


def _as_text(environment: Mapping[str, Any]) -> dict[str, str]:
    """What is known of an environment, one line for each fact."""
    return {
        key: shlex.join(str(part) for part in value) if isinstance(value, list) else str(value)
        for key, value in environment.items()
        if value is not None
    }
