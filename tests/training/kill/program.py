"""Trains in forked children that kill themselves (SIGKILL) at a chosen moment, then trains on; called by the tests.

Reads a list of cases from standard input, [{"out", "precision", "kills": [moment, …]}], and for each case runs one
child per moment and one more without any; answers with {"out": [exit status of each child]}. Forking after the imports
saves the seconds that importing torch takes.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import filelock  # noqa: F401 - imported late by the lock, here once for all children
import torch

from classwise import ClassData, Dataset, TrainConfig, linf, train
from classwise.attacks import PGD
from classwise.averaging import EpochEMA
from classwise.data import CropFlip, Split
from classwise.policies import KLDRO, CalibratedRadius, Combined
from classwise.progress import Silent
from classwise.registry import get, load_plugin
from classwise.training import Hardware, OneCycle
from classwise.training.optimizer import SGD
from classwise.training.step import Stepper

PLUGIN = Path(__file__).with_name("dropout_net.py")


def dataset() -> Dataset:
    """Three classes of noisy 6x6 patterns, 24 images each."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(72) % 3
    pattern = torch.rand(3, 1, 6, 6, generator=generator)
    images = (0.6 * pattern[labels] + 0.4 * torch.rand(72, 1, 6, 6, generator=generator)).mul(255).byte()
    return Dataset("patterns", train=ClassData(images, labels, ("a", "b", "c")), test=_no_test)


def _no_test() -> ClassData:
    raise AssertionError("the test images were read while training")


def configuration(precision: str) -> TrainConfig:
    """Every part that has a state of its own."""
    return TrainConfig(
        split=Split(at_least=4),
        model=get("model", "test-dropout-net")(),
        threat=linf("0.1"),
        augmentation=CropFlip(padding=1),
        adversary=PGD(steps=2, relative_step=0.5),
        validation_attack=PGD(steps=2, relative_step=0.5, stop_when_fooled=True),
        policy=Combined(members=(KLDRO(tau=0.3), CalibratedRadius(begin=1))),
        averaging=EpochEMA(decay=0.6, start=1),
        optimizer=SGD(lr=0.05, momentum=0.9),
        schedule=OneCycle(),
        epochs=3,
        batch_size=16,
        keep_epochs=(1,),
        hardware=Hardware(device="cpu", precision=precision),
    )


def die() -> None:
    """What a lost machine does: nothing more, at once."""
    os.kill(os.getpid(), signal.SIGKILL)


class HalfWriter:
    """A file that stops half-way through its first write."""

    def __init__(self, file) -> None:
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        die()


def arm(moment: str, out: Path) -> None:
    """Let this process kill itself at a moment: "step N", "operation N" (of those that change the disk), or a name."""
    fsync, rename, replace, rmtree, opened, call = (
        os.fsync, Path.rename, Path.replace, shutil.rmtree, Path.open, Stepper.__call__,
    )  # fmt: skip
    kind, _, number = moment.partition(" ")
    if kind == "step":
        calls = []

        def count_steps(self, *arguments):
            calls.append(1)
            if len(calls) == int(number):
                die()
            return call(self, *arguments)

        Stepper.__call__ = count_steps
    elif kind in ("operation", "count"):
        log = out.with_name(out.name + ".operations")

        def counted(original, done=[]):  # noqa: B006 - one list for all of them is meant
            def wrapper(*arguments, **keywords):
                done.append(original.__name__)
                if kind == "count":
                    log.write_text("\n".join(done))
                elif len(done) == int(number):
                    die()
                return original(*arguments, **keywords)

            return wrapper

        os.fsync, Path.rename, Path.replace, shutil.rmtree = (
            counted(fsync), counted(rename), counted(replace), counted(rmtree),
        )  # fmt: skip
    elif moment == "between model file and meta":

        def dying_fsync(handle):
            fsync(handle)
            for folder in (out / "checkpoints").glob(".2.*.tmp"):
                if (folder / "model.safetensors").exists() and not (folder / "meta.json").exists():
                    die()

        os.fsync = dying_fsync
    elif moment in ("before the rename", "after the rename"):

        def dying_rename(self, target):
            if Path(target).name == "2" and moment == "before the rename":
                die()
            rename(self, target)
            if Path(target).name == "2":
                die()

        Path.rename = dying_rename
    elif moment == "before the pointer":

        def dying_replace(self, target):
            if Path(target).name == "last" and self.read_text() == "2\n":
                die()
            return replace(self, target)

        Path.replace = dying_replace
    elif moment == "inside an event":

        def half_open(self, mode="r", *arguments, **keywords):
            file = opened(self, mode, *arguments, **keywords)
            later = self.name == "events.jsonl" and mode == "ab" and self.stat().st_size > 0
            return HalfWriter(file) if later else file

        Path.open = half_open
    elif moment == "inside the removal of an old checkpoint":

        def half_remove(path, *arguments, **keywords):
            if (Path(path) / "meta.json").exists():
                (Path(path) / "model.safetensors").unlink()
                die()
            rmtree(path, *arguments, **keywords)

        shutil.rmtree = half_remove
    else:
        raise AssertionError(moment)


def child(out: Path, precision: str, moment: str | None) -> int:
    """Run one training in a forked process; its exit status, negative where a signal ended it."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        torch.set_num_threads(1)
        if moment is not None:
            arm(moment, out)
        train(configuration(precision), out, data=dataset(), plugins=[PLUGIN], progress=Silent())
        status = 0
    finally:
        if status:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    load_plugin(PLUGIN)
    SGD().build([torch.nn.Parameter(torch.zeros(1))])  # imports what torch imports late
    statuses = {}
    for case in json.load(sys.stdin):
        moments = [*case["kills"], None]
        statuses[case["out"]] = [child(Path(case["out"]), case["precision"], moment) for moment in moments]
    print(json.dumps(statuses))
