"""A comparison of many runs as tables in the layout of the papers: rows are methods, columns average and worst class."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from classwise.comparison.conditions import Column
from classwise.comparison.overview import Overview
from classwise.comparison.rows import Row
from classwise.comparison.seeds import OverSeeds
from classwise.report.formats import latex_escaped
from classwise.report.phrasing import ABSENT, conditions, limits, p_value, percent, points
from classwise.report.tables import Block, csv_text, markdown, text

NOT_COMPARABLE = "NOT COMPARABLE, shown together because that was forced"
SEEDS_OR_SAMPLES = (
    "Intervals of several seeds (Student t) speak of further seeds on these test samples; those of one seed are the "
    "audit's and speak of further samples."
)
OF = {"average": "average", "worst": "worst class"}


@dataclass(frozen=True)
class Heading:
    """Two columns of the table: clean accuracy (``column`` is None), or robust accuracy under one attack."""

    title: str
    column: Column | None

    def figure(self, row: Row, of: str) -> OverSeeds | None:
        """The figure of a row, "average" or "worst"; None where it was not measured."""
        figures = row.clean if self.column is None else row.robust.get(self.column)
        return figures[of] if figures is not None else None


def headings(overview: Overview) -> list[Heading]:
    """Clean, then every attack; the threat model is named only where there are several."""
    several = len({column.threat for column in overview.columns}) > 1
    titles: list[str] = []
    for column in overview.columns:
        name = str(column).removeprefix(f"{column.threat}, ")
        title, number = f"{column.threat} {name}" if several else name, 2
        while title in titles:  # the same attack with other settings
            title, number = f"{title.partition(' (')[0]} (settings {number})", number + 1
        titles.append(title)
    return [Heading("clean", None), *map(Heading, titles, overview.columns)]


def overview_text(overview: Overview) -> str:
    """The comparison for people to read; Markdown tables without rich."""
    blocks: list[Block] = [*opening(overview), [{**row, "": ""} for row in _shown(overview)]]
    main = [_main_row(row) | {"": "front" if row.label in overview.on_front() else ""} for row in overview.rows]
    blocks += ["Robust accuracy, main column, with 95 % intervals", main]
    if overview.versus:
        blocks += [family(overview), [{**row, "": ""} for row in versus_rows(overview)]]
    return text([*blocks, *classes_changed(overview), *notes(overview), *left_out(overview)])


def overview_markdown(overview: Overview) -> str:
    """The same as Markdown, with a table of classes."""
    parts = [*opening(overview), markdown(_shown(overview))]
    parts += ["Robust accuracy, main column, with 95 % intervals:", markdown([_main_row(row) for row in overview.rows])]
    parts += ["Robust accuracy of every class in %, main column, mean over seeds:", markdown(_class_rows(overview))]
    if overview.versus:
        parts += [f"{family(overview)}:", markdown(versus_rows(overview))]
    return "\n\n".join([*parts, *classes_changed(overview), *notes(overview), *left_out(overview)])


def overview_csv(overview: Overview) -> str:
    """One line per row, fractions: mean, standard deviation, limits and number of seeds of every column."""
    rows = []
    for row in overview.rows:
        line: dict[str, object] = {"method": row.label, "start": row.start, "recipe": row.recipe, "seeds": row.seeds}
        line |= {"comparable": "yes" if overview.comparable else f"no: conditions {row.letter}"}
        line |= {"conditions": conditions(overview.conditions[row.letter])}
        for heading in headings(overview):
            for of, words in OF.items():
                figure = heading.figure(row, of)
                for name in ("mean", "deviation", "low", "high", "n"):
                    value = getattr(figure, name) if figure is not None else math.nan
                    line[f"{heading.title} {words} {name}"] = value
        rows.append(line)
    return csv_text(rows)


def overview_latex(overview: Overview) -> str:
    """A LaTeX table (booktabs) with average and worst class under every attack, the highest of each column bold."""
    shown = headings(overview)
    groups = " & ".join(
        rf"\multicolumn{{2}}{{c}}{{{latex_escaped(each.title.replace('clean', 'Clean'))}}}" for each in shown
    )
    rules = "".join(rf"\cmidrule(lr){{{3 + 2 * i}-{4 + 2 * i}}}" for i in range(len(shown)))
    lead = "" if overview.comparable else " & Conditions"
    if lead:
        rules = "".join(rf"\cmidrule(lr){{{4 + 2 * i}-{5 + 2 * i}}}" for i in range(len(shown)))
    lines = []
    for row in overview.rows:
        cells = [latex_escaped(row_name(row)), str(row.seeds), *([row.letter] if lead else [])]
        for heading in shown:
            for of in OF:
                figure = heading.figure(row, of)
                cell = ABSENT if figure is None else latex_escaped(_mean(figure))
                bold = figure is not None and overview.comparable and _is_highest(overview, heading, of, figure)
                cells.append(rf"\textbf{{{cell}}}" if bold else latex_escaped(cell) if figure is None else cell)
        lines.append(" & ".join(cells) + r" \\")
    words = [*opening(overview), "Accuracies in %, mean ± standard deviation over seeds.", *notes(overview)]
    caption = " ".join([*words, *(["Bold: highest mean of a column, which is no test."] if not lead else [])])
    return "\n".join(
        [
            *(f"% {each}" for each in left_out(overview)),
            r"\begin{table}",
            rf"\caption{{{latex_escaped(caption)}}}",
            rf"\begin{{tabular}}{{lr{'l' if lead else ''}{'rr' * len(shown)}}}",
            r"\toprule",
            rf" & {' &' if lead else ''} {groups} \\",
            rules,
            rf"Method & Seeds{lead} & {' & '.join(['Average & Worst'] * len(shown))} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def versus_rows(overview: Overview) -> list[dict[str, str]]:
    """What was tested against the baseline, in words."""
    return [
        {
            "method": each.row,
            "robust accuracy": OF[each.figure],
            "difference": points(each.difference.value),
            "95 % interval": ABSENT
            if math.isnan(each.difference.low)
            else f"[{points(each.difference.low)}, {points(each.difference.high)}]",
            "p": ABSENT if math.isnan(each.p_value) else p_value(each.p_value),
            "p (Holm)": ABSENT if math.isnan(each.p_holm) else p_value(each.p_holm),
            "test": each.test,
        }
        for each in overview.versus
    ]


def notes(overview: Overview) -> list[str]:
    """What the figures are, in sentences."""
    main = list(dict.fromkeys(str(row.main) for row in overview.rows))
    said = [
        f"Main column: {'; '.join(main)}. Average: over samples. Worst class: of each seed the lowest, then averaged.",
        SEEDS_OR_SAMPLES,
    ]
    if any(row.start for row in overview.rows):
        said.append("A row with + started from the nearest row above that has one + less.")
    return said


def left_out(overview: Overview) -> list[str]:
    """What was found but is not shown, in sentences."""
    return [f"Left out: {each}" for each in overview.left_out]


def opening(overview: Overview) -> list[str]:
    """Under which conditions the figures hold, or that they are not comparable."""
    held = {letter: conditions(plan) for letter, plan in overview.conditions.items()}
    if overview.comparable:
        return [
            f"{_count(len(overview.rows), 'row')}, {_count(len(overview.members), 'model')}: {next(iter(held.values()))}."
        ]
    return [
        f"{NOT_COMPARABLE}. Different {each}." if i == 0 else f"Different {each}."
        for i, each in enumerate(overview.differences)
    ] + [f"Conditions {letter}: {words}." for letter, words in held.items()]


def family(overview: Overview) -> str:
    """What the rows were tested against, and which tests were corrected for together."""
    tested = {of: sum(each.figure == of and not math.isnan(each.p_holm) for each in overview.versus) for of in OF}
    counted = " and ".join(f"{_count(count, 'test')} of the {OF[of]}" for of, count in tested.items() if count)
    corrected = f"p (Holm): corrected over {counted}, each by itself" if counted else "nothing could be tested"
    return f"Against {overview.baseline}, main column, percentage points; {corrected}"


def classes_changed(overview: Overview) -> Iterator[str]:
    """Sentences that name the classes in which a row of one model differs from the baseline."""
    for each in overview.versus:
        for direction, names in (("higher", each.higher), ("lower", each.lower)):
            if names:
                yield (
                    f"{each.row}: robust accuracy {direction} than {overview.baseline} (exact McNemar, Holm over all classes of "
                    f"all rows of one model): {', '.join(names)}."
                )


def _shown(overview: Overview) -> list[dict[str, str]]:
    """The table of the papers, in words."""
    rows = []
    for row in overview.rows:
        line = {"method": row_name(row)}
        line |= {} if overview.comparable else {"not comparable: conditions": row.letter}
        line["seeds"] = str(row.seeds)
        for heading in headings(overview):
            for of, words in OF.items():
                figure = heading.figure(row, of)
                count = f" (n = {figure.n})" if figure is not None and figure.n != row.seeds else ""
                line[f"{heading.title} {words} %"] = ABSENT if figure is None else _mean(figure) + count
        rows.append(line)
    return rows


def _main_row(row: Row) -> dict[str, str]:
    return {
        "method": row_name(row),
        "n seeds": str(row.seeds),
        "average %": _mean(row.average),
        "its interval": _limits(row.average),
        "worst class %": _mean(row.worst),
        "interval": _limits(row.worst),
    }


def _class_rows(overview: Overview) -> list[dict[str, str]]:
    rows = []
    for row in overview.rows:
        names, means = row.members[0].table.names, row.classes.mean(axis=0)
        rows.append(
            {"method": row_name(row)} | {name: percent(float(mean)) for name, mean in zip(names, means, strict=True)}
        )
    # Forced comparisons may have other classes, of which the table then has all.
    columns = list(dict.fromkeys(name for line in rows for name in line))
    return [{name: line.get(name, ABSENT) for name in columns} for line in rows]


def row_name(row: Row) -> str:
    """The label, after a + for every row it goes back to its first start."""
    return f"{'+' * row.depth} {row.label}".strip()


def _mean(figure: OverSeeds) -> str:
    return percent(figure.mean) + (f" ± {percent(figure.deviation)}" if figure.n > 1 else "")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _limits(figure: OverSeeds) -> str:
    return ABSENT if math.isnan(figure.low) else limits(figure.low, figure.high)


def _is_highest(overview: Overview, heading: Heading, of: str, figure: OverSeeds) -> bool:
    others = [other for row in overview.rows if (other := heading.figure(row, of)) is not None]
    return len(others) > 1 and figure.mean >= max(other.mean for other in others)
