"""Fixtures shared by all tests."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

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
