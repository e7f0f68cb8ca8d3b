"""``python -m classwise`` and ``torchrun -m classwise``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from classwise.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
