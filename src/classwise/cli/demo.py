"""``classwise demo``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from classwise.cli.flags import parse
from classwise.demo import run_demo


@dataclass(frozen=True)
class Flags:
    """Train, audit, repair and audit again on the digits bundled with scikit-learn; writes a report. No download."""

    out: Path = Path("runs/demo")
    """Folder for the runs and the report."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "demo", arguments)
    demo = run_demo(flags.out, say=lambda text: print(text, flush=True))
    print(f"\nReport: {demo.report.resolve()}  (open it in a browser)")
    print("Next, with your own model: classwise audit --help, or in Python: help(classwise.audit)")
    print(f"      another attack:      classwise audit {demo.repaired.path} --attacks pgd-100+cw-100")
    return 0
