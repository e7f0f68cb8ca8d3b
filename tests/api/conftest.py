"""The plug-in with toy images of the command line's tests, for Python."""

from collections.abc import Callable
from pathlib import Path

import pytest

import classwise as cw
from classwise import registry
from classwise.data import load
from classwise.progress import Silent


@pytest.fixture(scope="session")
def toy() -> type:
    """The data source of the plug-in."""
    registry.load_plugin(Path(__file__).parents[1] / "cli" / "toy.py")
    return registry.get("data", "toy")


@pytest.fixture
def train(toy: type) -> Callable[..., cw.Run]:
    """Trains a linear network on toy images; fields may be changed."""

    def command(out: Path, flaw: str = "", network: object = None, **changes: object) -> cw.Run:
        fields = {
            "data": toy(flaw=flaw),
            "model": cw.models.Linear(),
            "split": cw.data.Split(at_least=2),
            "batch_size": 16,
            "epochs": 2,
            "adversary": cw.attacks.PGD(steps=2),
            "validation_attack": cw.attacks.PGD(steps=2),
        }
        config = cw.recipe("digits-pgd-at", **(fields | changes))
        return cw.train(config, out, network=network, progress=Silent())

    return command


@pytest.fixture
def images(toy: type) -> cw.Dataset:
    """Toy images without a flaw."""
    return load("toy")
