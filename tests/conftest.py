"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data that lies beside a developer's checkout (never part of the product)."""
    folder = os.environ.get("CLASSWISE_SHARED")
    if not folder:
        pytest.skip("reference data not at hand: set CLASSWISE_SHARED to the folder that holds it")
    return Path(folder)
