"""Real images and the networks published with the reference data."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cifar10(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official files, written by the decoder beside the reference data."""
    spec = importlib.util.spec_from_file_location("read_cifar10", shared / "data" / "read_cifar10.py")
    decoder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(decoder)
    folder = tmp_path_factory.mktemp("cifar10")
    decoder.write_official(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(shared: Path) -> Path:
    """The robust network."""
    return shared / "data" / "checkpoints" / "cifar10_resnet20_pgd_at.pth"
