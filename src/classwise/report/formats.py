"""An audit as text for other programs: JSON, CSV, Markdown, LaTeX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from classwise.evaluation.result import AuditResult
from classwise.report.phrasing import conditions, limits, percent
from classwise.report.tables import Row, audit_rows, csv_text, markdown

Format = Literal["text", "json", "csv", "markdown", "latex"]

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}


def formatted(result: AuditResult, form: Format) -> str:
    """An audit in one of the formats, without a final newline.

    Args:
        result: The audit.
        form: "text": for people; "json": the whole summary; "csv": one row per class and threat model, fractions;
            "markdown" and "latex": class tables in per cent with the conditions they hold for (LaTeX needs booktabs).

    Raises:
        ValueError: The format is unknown.
    """
    if form == "text":
        return str(result)
    if form == "json":
        return json.dumps(result.to_dict(), ensure_ascii=False, indent=2)
    if form == "csv":
        return csv_text([row for radius in range(len(result.plan.threats)) for row in _rows(result, radius)]).rstrip(
            "\n"
        )
    if form == "markdown":
        return "\n\n".join(_markdown(result, radius) for radius in range(len(result.plan.threats)))
    if form == "latex":
        return "\n\n".join(_latex(result, radius) for radius in range(len(result.plan.threats)))
    raise ValueError(f"format {form!r} is unknown: text, json, csv, markdown or latex")


def _rows(result: AuditResult, radius: int) -> list[dict[str, object]]:
    plan = result.plan
    facts = {
        "threat": str(plan.threats[radius]),
        "attacks": plan.suite,
        "precision": plan.precision,
        "split": plan.split,
    }
    return [{**row, **facts} for row in audit_rows(result, radius)]


def _shown(result: AuditResult, radius: int) -> list[dict[str, str]]:
    table = result.table(radius)
    classes = [
        {
            "class": row["name"],
            "n": str(row["n"]),
            "clean %": percent(row["clean"]),
            "robust %": percent(row["robust"]),
            "95 % interval": limits(row["robust_low"], row["robust_high"]),
            "boundary %": percent(row["boundary"]),
        }
        for row in table.rows()
    ]
    mean, worst = table.mean, table.worst
    totals = [
        {
            "class": "all samples",
            "n": str(mean.n),
            "clean %": percent(table.overall("clean").value),
            "robust %": percent(mean.value),
            "95 % interval": limits(mean.low, mean.high),
            "boundary %": percent(table.overall("boundary").value),
        },
        {
            "class": f"worst class ({table.weakest})",
            "n": str(worst.n),
            "clean %": "",
            "robust %": percent(worst.value),
            "95 % interval": limits(worst.low, worst.high),
            "boundary %": "",
        },
    ]
    return classes + totals


def _markdown(result: AuditResult, radius: int) -> str:
    caption = conditions(result.plan, result.plan.threats[radius])
    return f"{_caption(result.plan.model, caption)}\n\n{markdown(_shown(result, radius))}"


def _latex(result: AuditResult, radius: int) -> str:
    rows: Sequence[Row] = _shown(result, radius)
    head = " & ".join(latex_escaped(name) for name in rows[0])
    lines = [" & ".join(latex_escaped(str(cell)) for cell in row.values()) + r" \\" for row in rows]
    caption = latex_escaped(_caption(result.plan.model, conditions(result.plan, result.plan.threats[radius])))
    return "\n".join(
        [
            f"% {_caption(result.plan.model, conditions(result.plan, result.plan.threats[radius]))}",
            rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *lines[:-2],
            r"\midrule",
            *lines[-2:],
            r"\bottomrule",
            r"\end{tabular}",
            rf"% \caption{{{caption}}}",
        ]
    )


def _caption(model: str, held: str) -> str:
    return f"{model}: {held}"


def latex_escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX.get(letter, letter) for letter in text)
