"""Packages that may or may not be there, and stand-ins for them."""

import importlib
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def real() -> Callable[[str], Any]:
    """The real package, or a skipped test that says why."""

    def take(name: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return importlib.import_module(name)
            except Exception as error:  # not installed, or built for another torch
                pytest.skip(f"the real {name} cannot be imported here: {type(error).__name__}: {error}")

    return take


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., types.ModuleType]:
    """Puts a module with the given attributes where ``import`` finds it."""

    def put(name: str, **attributes: Any) -> types.ModuleType:
        module = types.ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put
