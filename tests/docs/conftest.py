"""Pages that scripts write: tests find the scripts, and what these tests have in common, by their folders."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[2] / "docs"), str(Path(__file__).parent)]
