"""What the commands print when they are done."""

from __future__ import annotations

from classwise.metrics import ClassTable
from classwise.run import Run


def run_summary(run: Run) -> str:
    """Which epoch was selected, how it did on validation images, and what to do next."""
    folder, averaged = run.checkpoint()
    entry = run.history[int(folder.name) - 1]
    table = entry["validation"]["averaged" if averaged else "raw"]
    robust, clean = table["robust"], table["clean"]
    worst = min(range(len(robust)), key=robust.__getitem__)
    return (
        f"Selected: {'averaged' if averaged else 'raw'} weights after epoch {folder.name} of {len(run.history)}. "
        f"On {int(sum(table['n']))} validation images: clean {100 * sum(clean) / len(clean):.1f} %, "
        f"robust {100 * sum(robust) / len(robust):.1f} %, weakest class {run.class_names[worst]} {100 * robust[worst]:.1f} %.\n"
        f"Next: classwise audit {run.path}"
    )


def short_table(table: ClassTable) -> str:
    """One line: clean, robust and weakest class with their intervals."""
    return f"clean {table.overall('clean')}, robust {table.mean}, weakest class {table.weakest} {table.worst}"
