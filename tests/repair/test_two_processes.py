"""Under torchrun every process finds the same repair, and only the first one writes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from classwise import Run

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from conftest import make_data, no_test_images, off_balance
from classwise import Dataset, finetune, linf, recipe
from classwise.attacks import PGD
from classwise.progress import Silent
from classwise.repair import LogitBias
from classwise.runs import atomic, checkpoints
if int(os.environ.get("RANK", "0")):
    def refuse(*_):
        raise AssertionError("a process that is not the first one writes")
    atomic.write_bytes = checkpoints.save = refuse
config = recipe("digits-logit-bias", repair=LogitBias(rounds=1), threat=linf("0.04"), validation_attack=PGD(steps=2),
                split=recipe("logit-bias").split)
data = Dataset("toy", make_data(per_class=60), no_test_images)
run = finetune(off_balance(), data, recipe=config, out=sys.argv[1], progress=Silent())
assert run.repair["better"]
"""


@pytest.mark.slow
def test_two_processes_find_the_repair_of_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    here = str(Path(__file__).parent)
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for out, before in (("one", []), ("two", together)):
        command = [sys.executable, *before, str(program), str(tmp_path / out), here]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert one.repair["fitted"] == two.repair["fitted"]
    assert one.repair["validation"] == two.repair["validation"]
    from classwise.runs import checkpoints

    first, second = (checkpoints.load(each.checkpoint("repaired")[0]).model for each in (one, two))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
