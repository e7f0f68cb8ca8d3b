"""Plug-ins that leave nothing behind in the registry, whose content other tests count."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest

from classwise import registry
from classwise.testing import Examined, check_plugin


@contextmanager
def registry_kept() -> Iterator[None]:
    for kind in registry.HOMES:
        registry.names(kind)  # brings in the built-in components
    tables = {kind: dict(table) for kind, table in registry._tables.items()}
    modules = set(sys.modules)
    try:
        yield
    finally:
        for kind, table in tables.items():
            registry._tables[kind].clear()
            registry._tables[kind].update(table)
        for name in set(sys.modules) - modules:
            if name.startswith("classwise_plugin_"):
                del sys.modules[name]


@pytest.fixture(autouse=True)
def _clean_registry() -> Iterator[None]:
    with registry_kept():
        yield


@pytest.fixture(scope="session")
def examined_once() -> Callable[[Path], dict[str, Examined]]:
    """Checks a plug-in file, once; what was found by the name of each component."""

    @lru_cache
    def check(path: Path) -> dict[str, Examined]:
        with registry_kept():
            return {each.name: each for each in check_plugin(path)}

    return check


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a plug-in file."""

    def write(text: str) -> Path:
        path = tmp_path / "my_plugin.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write
