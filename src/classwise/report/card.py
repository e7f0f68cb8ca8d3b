"""The page that goes with published weights: what the network is, and how each class fares under attack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from classwise.evaluation.result import AuditResult
from classwise.report.phrasing import conditions, level, limits, percent
from classwise.report.tables import markdown

TAGS = ["image-classification", "adversarial-robustness", "class-wise-robustness"]

MEANING = (
    "An image counts as robust where it is classified correctly with and without these attacks. The interval of a class is "
    "for that class alone; the one of the worst class accounts for its having been picked. Other attacks, larger radii and "
    "other images were not tried."
)

_SPECIAL = re.compile(r"([\\`*_\[\]~#$])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}


def model_card(facts: Mapping[str, Any], audits: Sequence[AuditResult]) -> str:
    """A model card in Markdown with the metadata block of Hugging Face's hub.

    Every accuracy in it stands with its interval, and every table with the number of images, threat model, attacks, seed,
    precision and split it holds for. The metadata block carries no accuracies, since its fields have no place for these.

    Args:
        facts: Of the export.
        audits: Of the very weights, in the order in which they are shown.
    """
    size, classes, training = facts["input"], facts["classes"], facts["training"]
    front = {"library_name": "classwise", "pipeline_tag": "image-classification", "tags": TAGS}
    inside = facts["normalisation"]
    normalises = (
        f"by mean {inside['mean']} and standard deviation {inside['std']}" if inside else "none that classwise added"
    )
    blocks = [
        f"---\n{yaml.safe_dump(front, sort_keys=False).rstrip()}\n---",
        f"# {escaped(facts['name'])}",
        f"An image classifier for {len(classes)} classes: {', '.join(escaped(name) for name in classes)}.",
        "## Robustness of each class",
        *_robustness(audits),
        "## Use",
        _fenced(
            "from classwise.models.export import load_exported\n\n"
            'network = load_exported("FOLDER")  # the folder that holds this page\n'
            "logits = network(images)",
            "python",
        ),
        "\n".join(
            [
                f"- Images: ({size['channels']}, {size['height']}, {size['width']}) float32 in [0, 1], as a batch.",
                f"- Normalisation inside the network: {normalises}.",
                f"- Network: {escaped(str(facts['architecture'].get('name', '')))}, {facts['parameters']:,} parameters.",
                f"- Weights: {escaped(facts['weights']['which'])}, after epoch {facts['weights']['epochs']}.",
            ]
        ),
        "## Training",
        f"Recipe: {escaped(training['recipe'] or 'none, a configuration of its own')}. The whole configuration:",
        _fenced(yaml.safe_dump(training["configuration"], sort_keys=False, allow_unicode=True), "yaml"),
        f"Written by classwise {facts['classwise']}; `facts.json` holds the same for programs.",
    ]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text that means nothing to Markdown or HTML, in one line: names come from data sets, which anyone may have made."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return "".join(_ENTITIES.get(letter) or _SPECIAL.sub(r"\\\1", letter) for letter in line)


def _robustness(audits: Sequence[AuditResult]) -> list[str]:
    if not audits:
        return ["These weights were not audited: nothing is known of their robustness, of any class."]
    blocks = [each for audit in audits for each in _tables(audit)]
    return [*blocks, MEANING]


def _tables(audit: AuditResult) -> list[str]:
    blocks = []
    for radius, threat in enumerate(audit.plan.threats):
        table = audit.table(radius)
        clean, robust = (f"{name} % [{level(table.confidence)} interval]" for name in ("clean", "robust"))
        overall, mean, worst = table.overall("clean"), table.mean, table.worst
        rows = [
            {
                "class": escaped(row["name"]),
                "n": str(row["n"]),
                clean: _with_interval(row["clean"], row["clean_low"], row["clean_high"]),
                robust: _with_interval(row["robust"], row["robust_low"], row["robust_high"]),
            }
            for row in table.rows()
        ]
        rows += [
            {
                "class": "all images",
                "n": str(mean.n),
                clean: _with_interval(overall.value, overall.low, overall.high),
                robust: _with_interval(mean.value, mean.low, mean.high),
            },
            {
                "class": f"worst class ({escaped(table.weakest)})",
                "n": str(worst.n),
                clean: "",
                robust: _with_interval(worst.value, worst.low, worst.high),
            },
        ]
        blocks += [escaped(f"{audit.plan.model}: {conditions(audit.plan, threat)}"), markdown(rows)]
    doubts = [
        f"- {check.verdict}, {check.name}: {escaped(check.sentence)}"
        for check in audit.checks
        if check.verdict != "pass"
    ]
    return [*blocks, *(["What speaks against these figures:\n\n" + "\n".join(doubts)] if doubts else [])]


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{percent(value)} {limits(low, high)}"


def _fenced(text: str, language: str) -> str:
    """A block of code that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
