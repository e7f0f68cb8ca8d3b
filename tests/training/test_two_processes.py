"""The same code under torchrun: two processes give the weights of one, and only the first one writes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from conftest import make_config, make_data, no_test_images
from classwise import Dataset, train
from classwise.averaging import EpochEMA
from classwise.data import CropFlip
from classwise.models import SmallCNN
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import KLDRO, CalibratedRadius, Combined
from classwise.progress import Silent
from classwise.runs import atomic, checkpoints
import os
rank = int(os.environ.get("RANK", "0"))
if rank:
    def refuse(*_):
        raise AssertionError(f"process {rank} writes")
    atomic.write_bytes = checkpoints.save = refuse
objective = {"pgd-at": AdversarialTraining(), "trades": Trades(beta=2.0)}[sys.argv[3]]
config = make_config(
    epochs=2, batch_size=9, model=SmallCNN(width=4, hidden=8), objective=objective, augmentation=CropFlip(padding=1),
    policy=Combined(members=(KLDRO(tau=0.2), CalibratedRadius(begin=1))), averaging=EpochEMA(decay=0.5),
)
run = train(config, sys.argv[1], data=Dataset("toy", make_data(), no_test_images), progress=Silent())
assert len(run.history) == 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["pgd-at", "trades"])
def test_two_processes_give_the_weights_of_one(objective: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    here = str(Path(__file__).parent)
    launch: Callable[[str], list[str]] = lambda out: [str(program), str(tmp_path / out), here, objective]  # noqa: E731
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for command in ([*launch("one")], [*together, *launch("two")]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    from classwise import Run

    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    first, second = one.model("2").state_dict(), two.model("2").state_dict()
    for key in first:
        assert torch.allclose(first[key], second[key], rtol=0, atol=1e-5), key
    for before, after in zip(one.history, two.history, strict=True):
        assert before["train"]["count"] == after["train"]["count"] == [12, 12, 12]
        assert before["train"]["loss"] == pytest.approx(after["train"]["loss"], abs=1e-5)
        assert before["train"]["batch_weight"] == pytest.approx(after["train"]["batch_weight"], abs=1e-5)
        assert before["knobs"]["radius"] == pytest.approx(after["knobs"]["radius"])
        assert before["validation"] == after["validation"]
