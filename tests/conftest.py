"""Fixtures shared by all tests."""

import importlib
import os
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Toy networks are faster on one thread, and several test processes do not fight for cores.
torch.set_num_threads(1)

# The first use of a lazily imported library can take longer than Hypothesis's deadline.
hypothesis.settings.register_profile("classwise", deadline=None)
hypothesis.settings.load_profile("classwise")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data that lies beside a developer's checkout (never part of the product)."""
    folder = os.environ.get("CLASSWISE_SHARED")
    if not folder:
        pytest.skip("reference data not at hand: set CLASSWISE_SHARED to the folder that holds it")
    return Path(folder)


class NoWaiting(TorchDispatchMode):
    """Refuses whatever would make the host wait for a device: numbers read from tensors, shapes that depend on them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select"}, name
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_waiting() -> type[NoWaiting]:
    """``with no_waiting():`` fails where the host would wait for a device; checked here to notice that it would."""
    with NoWaiting(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        bool(torch.ones(2).any())
    return NoWaiting


@pytest.fixture
def real() -> Callable[[str], Any]:
    """The real package of a name, or a skipped test that says why."""

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
