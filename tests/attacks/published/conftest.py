"""The world of the published implementations, which the training tests describe."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[2] / "training" / "published" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("published_world_of_attacks", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

world = _MODULE.world
