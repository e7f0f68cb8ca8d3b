"""The benchmarks are scripts beside the package, not a part of it: tests find them by their folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
