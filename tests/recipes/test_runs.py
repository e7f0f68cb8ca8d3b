"""Every preset trains: one epoch on the digits with a small network, with everything else as it is."""

import math
from pathlib import Path

import pytest

import classwise as cw
from classwise import registry
from classwise.configuration import replace
from classwise.data import Digits
from classwise.models import SmallCNN
from classwise.recipes import recipe
from classwise.training import Hardware

pytestmark = pytest.mark.slow

MODULES = [f"classwise.recipes.{name}" for name in ("frl", "cfa", "faal", "mixup", "companions")]
NAMES = [name for name in registry.names("recipe") if registry.get("recipe", name).__module__ in MODULES]
HARDWARE = Hardware(precision="fp32", threads=1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("teacher")
    cw.train(cw.recipe("digits-natural", epochs=1, hardware=HARDWARE), path)
    return str(path)


def test_the_sweep_is_whole() -> None:
    assert len(NAMES) == 58


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains(name: str, teacher: str, tmp_path: Path) -> None:
    config = recipe(name)
    small = replace(
        config,
        data=Digits(),
        model=SmallCNN(),
        split=replace(config.split, fraction=0.05, at_least=20, train_per_class=10),
        teacher=teacher if config.teacher else "",
        epochs=1,
        keep_epochs=(),
        hardware=HARDWARE,
    )
    run = cw.train(small, tmp_path / "run")
    assert run.directory.status["state"] == "finished"
    assert math.isfinite(run.history[-1]["train"]["loss"])
