"""Streamed images give the batches, and the weights, of resident ones; and no process outlives its epoch."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classwise as cw
from classwise import ClassData, Dataset, Run, TrainConfig
from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.data import (
    Batch,
    CropFlip,
    Feed,
    FolderImages,
    Loader,
    MappedImages,
    NoAugmentation,
    Resident,
    Split,
    Streamed,
    feeding,
    memory,
    streamed,
)
from classwise.mixing import SameClassMixup
from classwise.models import Linear
from classwise.progress import Silent
from classwise.training import Hardware
from classwise.training.optimizer import SGD

N = 45
CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (N, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS, GROUPS = torch.arange(N) % 3, torch.arange(N) % 2
AUGMENTATION = CropFlip(padding=2, cutout=2)


def held(images: Any = IMAGES) -> ClassData:
    return ClassData(images, LABELS, ("a", "b", "c"), torch.arange(N) * 7, GROUPS, ("even", "odd"))


def mapped(folder: Path) -> MappedImages:
    np.save(folder / "images.npy", IMAGES.numpy())
    return MappedImages(folder / "images.npy")


def files(folder: Path) -> FolderImages:
    for i, image in enumerate(IMAGES):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return FolderImages([folder / f"{i}.png" for i in range(N)], size=6)


def loader(data: ClassData, feeding: Any, workers: int = 2, rank: int = 0, world: int = 1) -> Loader:
    order, augment = (torch.Generator().manual_seed(i) for i in range(2))
    return Loader(data, 8, AUGMENTATION, CPU, order, augment, rank, world, False, feeding, workers)


def assert_same(one: Batch, other: Batch) -> None:
    assert (one.total, one.rows) == (other.total, other.rows)
    for name in ("x", "y", "group", "index"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert one.x.dtype == other.x.dtype == torch.float32
    assert other.x.is_contiguous()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["memory", "floats", "mapped", "files"])
def test_batches_are_those_of_resident_data(kind: str, workers: int, tmp_path: Path) -> None:
    images = {
        "memory": lambda: IMAGES,
        "floats": lambda: IMAGES.float() / 255,
        "mapped": lambda: mapped(tmp_path),
        "files": lambda: files(tmp_path),
    }[kind]()
    resident, streaming = loader(held(), "resident"), loader(held(images), "streamed", workers)
    assert isinstance(resident.source, Resident)
    assert isinstance(streaming.source, Streamed)
    for _ in range(2):
        before = torch.get_rng_state()
        for one, other in zip(resident, streaming, strict=True):
            assert_same(one, other)
        assert torch.equal(torch.get_rng_state(), before)  # networks with dropout draw from it
        assert not multiprocessing.active_children()
    for one, other in zip(loader(held(images), "resident"), loader(held(), "resident"), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("world", [2, 7])
def test_processes_share_out_the_same_order(world: int, tmp_path: Path) -> None:
    """With 7 processes some have no row of the last batch, which has 5."""
    whole = loader(held(), "resident")
    parts = [loader(held(mapped(tmp_path)), "streamed", 1, rank, world) for rank in range(world)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for rank, share in enumerate(shares):
            assert torch.equal(share.x, batch.x[rank::world])
            assert torch.equal(share.index, batch.index[rank::world])
            assert share.total == batch.total


def test_rows_can_be_taken_that_no_epoch_announced(tmp_path: Path) -> None:
    rows = torch.tensor([40, 3, 3])
    feeds: list[Feed] = [Resident(held(), AUGMENTATION, CPU), Streamed(held(mapped(tmp_path)), AUGMENTATION, CPU, 2)]
    taken = [each.take(rows, cw.randomness.GeneratorNoise(torch.Generator().manual_seed(5))) for each in feeds]
    assert torch.equal(*taken)
    assert not multiprocessing.active_children()
    noise = cw.randomness.GeneratorNoise(torch.Generator())
    assert Resident(held(IMAGES.float() / 255), CropFlip(padding=1), CPU).take(rows, noise).is_contiguous()


def config(**changes: Any) -> TrainConfig:
    base = TrainConfig(
        split=Split(fraction=0, at_least=4),
        model=Linear(),
        threat=cw.linf("0.05"),
        adversary=PGD(steps=2, relative_step=0.5),
        validation_attack=PGD(steps=2, relative_step=0.5),
        augmentation=AUGMENTATION,
        mixing=SameClassMixup(),
        optimizer=SGD(lr=0.1),
        epochs=3,
        batch_size=8,
        hardware=Hardware(device="cpu", precision="fp32", feeding="streamed", workers=2),
    )
    return replace(base, **changes)


def no_test_images() -> ClassData:
    raise AssertionError("the test images were read")


def train(out: Path, images: Any, progress: Any = None, **changes: Any) -> Run:
    data = Dataset("toy", train=ClassData(images, LABELS, ("a", "b", "c")), test=no_test_images)
    return cw.train(config(**changes), out, data=data, progress=progress or Silent())


def weights(run: Run) -> list[bytes]:
    shelf = run.directory.checkpoints
    return [(shelf.path(number) / "model.safetensors").read_bytes() for number in shelf.numbers()]


class StopAfter:
    """Progress that raises after some steps, and notes which processes there were."""

    def __init__(self, steps: int, error: BaseException) -> None:
        self.left, self.error = steps, error
        self.children: list[Any] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Any]:
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= units
            if self.left < 0:
                self.children = multiprocessing.active_children()
                raise self.error

        yield advance


@pytest.mark.parametrize("kind", [mapped, files])
def test_streamed_training_gives_the_weights_of_resident_training(kind: Any, tmp_path: Path) -> None:
    resident = train(tmp_path / "resident", IMAGES, hardware=replace(config().hardware, feeding="resident"))
    streaming = train(tmp_path / "streamed", kind(tmp_path))
    assert weights(streaming) == weights(resident)
    plain = train(tmp_path / "plain", kind(tmp_path), augmentation=NoAugmentation())
    assert weights(plain) != weights(resident)
    assert [each["validation"] for each in streaming.history] == [each["validation"] for each in resident.history]


def test_streamed_training_goes_on_exactly_where_it_was_interrupted(tmp_path: Path) -> None:
    images = mapped(tmp_path)
    whole = train(tmp_path / "whole", images)
    for steps in (6, 9):  # one epoch has 5: interrupted in the second, and again in the third
        stop = StopAfter(steps, RuntimeError("stop"))
        with pytest.raises(RuntimeError, match="stop"):
            train(tmp_path / "run", images, progress=stop)
    assert weights(train(tmp_path / "run", images)) == weights(whole)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_no_process_outlives_an_interruption(error: BaseException, tmp_path: Path) -> None:
    stop = StopAfter(2, error)
    with pytest.raises(type(error)) as caught:  # keeps the traceback, and all that its frames hold
        train(tmp_path / "run", mapped(tmp_path), progress=stop)
    assert caught.traceback
    assert 1 <= len(stop.children) <= 2
    assert not multiprocessing.active_children()
    assert not any(child.is_alive() for child in stop.children)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_and_no_process_stays(workers: int, tmp_path: Path) -> None:
    images = files(tmp_path)
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"3\.png' is no image that can be read") as caught:
        list(loader(held(images), "streamed", workers))
    assert "Traceback" not in str(caught.value)  # one sentence, as if it had been read here
    assert not multiprocessing.active_children()


PROGRAM = """
import multiprocessing, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_streamed as toy
class Tell:
    told = False
    def task(self, label, total):
        return self
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
    def __call__(self, units=1, note=""):
        children = multiprocessing.active_children()
        if children and not self.told:
            self.told = True
            print(*[child.pid for child in children], flush=True)
toy.train(Path(sys.argv[1]) / "run", toy.mapped(Path(sys.argv[1])), progress=Tell(), epochs=1000000)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are needed to send Ctrl-C as a terminal does")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_no_process_outlives_its_program(how: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(Path(__file__).parent)]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert program.stdout is not None
    pids = [int(word) for word in program.stdout.readline().split()]
    assert pids
    if how == signal.SIGINT:
        os.killpg(program.pid, how)
    else:
        os.kill(program.pid, how)  # its workers notice by themselves
    program.communicate(timeout=60)
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_resident_data_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a loader with workers was made")

    monkeypatch.setattr(streamed, "DataLoader", refuse)
    run = train(tmp_path / "run", mapped(tmp_path), hardware=replace(config().hardware, feeding="auto"))
    assert len(run.history) == 3
    with pytest.raises(AssertionError, match="a loader with workers"):
        train(tmp_path / "other", mapped(tmp_path))


def test_auto_keeps_what_fills_a_third_of_the_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(data: ClassData, asked: Any = "auto") -> type:
        return type(feeding.feed(data, AUGMENTATION, CPU, asked))

    size = IMAGES.nbytes
    stored = held(mapped(tmp_path))
    assert kind(stored) is Resident
    monkeypatch.setattr(memory, "free_memory", lambda device: 3 * size)
    assert kind(stored) is Resident
    monkeypatch.setattr(memory, "free_memory", lambda device: 3 * size - 3)
    assert kind(stored) is Streamed
    assert kind(stored, "resident") is Resident
    assert kind(held()) is Resident  # is in this memory already
    assert kind(held(), "streamed") is Streamed
    other = torch.device("meta")
    assert not feeding._fits(held(), other)
    monkeypatch.setattr(memory, "free_memory", lambda device: 3 * size)
    assert feeding._fits(held(), other)


def test_batches_are_the_same_where_there_is_no_room_for_padded_images(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = list(loader(held(), "resident"))
    monkeypatch.setattr(memory, "free_memory", lambda device: 3 * IMAGES.nbytes)
    monkeypatch.setattr(CropFlip, "variants", None)
    for one, other in zip(roomy, loader(held(), "resident"), strict=True):
        assert_same(one, other)


def test_the_free_memory_of_this_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = memory.free_memory(CPU)
    assert 0 < free <= physical
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")  # they share the machine
    assert memory.free_memory(CPU) < free / 4


def test_there_are_no_more_readers_than_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "_processors", lambda: 3)
    assert Streamed(held(), AUGMENTATION, CPU, 8).workers == 3
    assert Streamed(held(), AUGMENTATION, CPU, 2).workers == 2
    with pytest.raises(ValueError, match="workers -1 must be at least 1, or 0 to read in the training process"):
        Hardware(workers=-1)


TOGETHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import test_streamed as toy
from classwise import Run
folder = Path(sys.argv[1])
run = toy.train(folder / sys.argv[3], toy.MappedImages(folder / "images.npy"))
assert len(run.history) == 3
"""


@pytest.mark.slow
def test_two_processes_that_stream_give_the_weights_of_one(tmp_path: Path) -> None:
    mapped(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(TOGETHER)
    here = str(Path(__file__).parent)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, before in (("one", []), ("two", launcher)):
        command = [sys.executable, *before, str(program), str(tmp_path), here, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    first, second = one.model("3").state_dict(), two.model("3").state_dict()
    for key in first:
        assert torch.allclose(first[key], second[key], rtol=0, atol=1e-5), key
    for before, after in zip(one.history, two.history, strict=True):
        assert before["train"]["count"] == after["train"]["count"]
        assert before["train"]["loss"] == pytest.approx(after["train"]["loss"], abs=1e-5)
        assert before["validation"] == after["validation"]
