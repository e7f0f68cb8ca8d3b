"""Pages that scripts write: tests find the scripts by their folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "docs"))
