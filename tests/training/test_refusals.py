"""A run directory belongs to one run and to one process at a time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from classwise import Dataset, Run, train
from classwise.policies import KLDRO
from classwise.progress import Silent
from classwise.training import SGD

Train = Callable[..., Run]

HOLD = """
import sys
from pathlib import Path
from classwise.runs import RunDirectory
with RunDirectory(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_one_dies(toy_run: Train, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=r"another process is writing to .*run"):
            toy_run(tmp_path / "run")
        assert not (tmp_path / "run" / "config.yaml").exists()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert toy_run(tmp_path / "run").directory.status["state"] == "finished"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 3}, "epochs: 2 → 3"),
        ({"policy": KLDRO(tau=0.1)}, "policy.name: uniform → kl-dro"),
        ({"optimizer": SGD(lr=0.2)}, "optimizer.lr: 0.1 → 0.2"),
        ({"seed": 1}, "seed: 0 → 1"),
    ],
)
def test_another_configuration_is_refused(
    change: dict[str, object], named: str, toy_run: Train, tmp_path: Path
) -> None:
    toy_run(tmp_path / "run")
    with pytest.raises(ValueError, match="holds another run") as caught:
        toy_run(tmp_path / "run", **change)
    assert named in str(caught.value)


def test_other_data_are_refused(toy_run: Train, toy_data: Callable[..., object], tmp_path: Path) -> None:
    toy_run(tmp_path / "run", data=toy_data(seed=1))
    with pytest.raises(ValueError, match=r"data\.sha256"):
        toy_run(tmp_path / "run", data=toy_data(seed=2))


def test_a_folder_of_something_else_is_refused_and_left_alone(toy_run: Train, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"is not empty and holds no run \(thesis\.txt\)"):
        toy_run(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert {each.name for each in tmp_path.iterdir()} <= {"thesis.txt", "run.lock"}


def test_a_file_as_output_folder_is_refused(toy_run: Train, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot use .* as output folder"):
        toy_run(tmp_path / "file")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(toy_run: Train, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="no longer finite in epoch"):
        toy_run(tmp_path / "run", optimizer=SGD(lr=1e38, weight_decay=0.0), epochs=3)
    shelf = Run(tmp_path / "run").directory.checkpoints
    assert shelf.pointed("last") == 0


def test_global_random_state_and_settings_are_put_back(toy_run: Train, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    toy_run(tmp_path / "run", epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_live_network_is_not_changed(toy_run: Train, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run = toy_run(tmp_path / "run", network=network, epochs=1)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not torch.equal(run.model().state_dict()["1.weight"], before["1.weight"])


def test_same_seed_same_weights_other_seed_other_weights(
    toy_data: Callable[..., object], toy_config: Callable[..., object], tmp_path: Path
) -> None:
    def weights(name: str, seed: int) -> torch.Tensor:
        data = Dataset("toy", train=toy_data(), test=lambda: toy_data(seed=1))
        run = train(toy_config(epochs=1, seed=seed), tmp_path / name, data=data, progress=Silent())
        return run.model().state_dict()["1.weight"]

    assert torch.equal(weights("a", 0), weights("b", 0))
    assert not torch.equal(weights("a", 0), weights("c", 1))
