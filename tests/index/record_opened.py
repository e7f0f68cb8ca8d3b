"""Run tests and write down which reference files each test file opened: ``record_opened.py FOLDER OUT TEST…``."""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

opened: dict[str, set[str]] = defaultdict(set)
folder, out, *tests = sys.argv[1:]


def record(event: str, arguments: tuple[Any, ...]) -> None:
    """Note the file of the running test beside the reference file that is opened."""
    if event == "open" and isinstance(arguments[0], str | os.PathLike) and "PYTEST_CURRENT_TEST" in os.environ:
        path = os.fspath(arguments[0])
        if str(path).startswith(folder):
            opened[str(Path(str(path)).relative_to(folder))].add(os.environ["PYTEST_CURRENT_TEST"].partition("::")[0])


sys.addaudithook(record)
code = pytest.main(["-q", "-m", "not slow", "-p", "no:cacheprovider", *tests])
Path(out).write_text(json.dumps({name: sorted(files) for name, files in opened.items()}), encoding="utf-8")
sys.exit(code)
