"""Count the training images per second that reach a step, augmented, with ours and with a loader of single PIL images.

The contenders take turns in one process, without worker processes, over the same random images of CIFAR-10's size: a crop
out of 4 pixels of padding, a flip of every other one, floats in [0, 1], shuffled batches. PyTorch has all threads of the
machine, as it has by default, and once more a single one; single pictures use one thread either way.

- ``resident``: our loader, images kept as bytes where training is;
- ``mapped``: the same from a memory-mapped file, read by the training process;
- ``torchvision``: ``RandomCrop``, ``RandomHorizontalFlip`` and ``ToTensor`` of torchvision on PIL images, as the code
  published with papers does it, under PyTorch's DataLoader; left out where torchvision cannot be imported;
- ``pil``: the same operations called on Pillow by hand, without torchvision's checks.

Figures are medians over the rounds; a first round warms up and is not counted.
"""

import importlib
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from classwise.data import ClassData, CropFlip, Loader, MappedImages
from report import write_result
from timing import seconds

CLASSES, SHAPE, PADDING = 10, (3, 32, 32), 4


def main(
    out: Path = Path("benchmarks/results/loader.json"),
    rounds: int = 11,
    images: int = 10_000,
    batches: tuple[int, ...] = (128, 512),
    threads: tuple[int, ...] = tuple(dict.fromkeys((torch.get_num_threads(), 1))),
) -> None:
    """Measure and write the figures.

    Args:
        out: File for the figures.
        rounds: Rounds that count, each with one epoch of every contender.
        images: Images of an epoch.
        batches: Images of a batch; each number is measured on its own.
        threads: CPU threads; each number is measured on its own.
    """
    figures: dict[str, Any] = {
        "device": "cpu",
        "images": images,
        "shape": SHAPE,
        "rounds": rounds,
        "load_average_before": os.getloadavg()[0],
        "threads": {
            number: {batch: measured(images, batch, rounds, number) for batch in batches} for number in threads
        },
    }
    torch.set_num_threads(threads[0])
    there = ("torchvision",) if of_torchvision() is not None else ()
    write_result("loader", figures, out, ("pillow", *there))


def measured(images: int, batch: int, rounds: int, threads: int) -> dict[str, Any]:
    """Figures for one size of batches."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        epochs = contenders(images, batch, Path(folder))
        times: dict[str, list[float]] = {name: [] for name in epochs}
        for _ in range(rounds + 1):
            for name, epoch in epochs.items():
                times[name].append(seconds(epoch, "cpu"))
    rates = {name: images / median(values[1:]) for name, values in times.items()}
    return {
        "images_per_second": rates,
        "seconds_of_each_round": {name: values[1:] for name, values in times.items()},
        "times_faster_than": {
            rival: {name: rates[name] / rates[rival] for name in ("resident", "mapped")}
            for rival in ("torchvision", "pil")
            if rival in rates
        },
    }


def contenders(images: int, batch: int, folder: Path) -> dict[str, Callable[[], None]]:
    """One epoch of each contender, over the same random images."""
    pixels = torch.randint(0, 256, (images, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(images) % CLASSES
    np.save(folder / "images.npy", pixels.numpy())
    held, mapped = (
        ClassData(each, labels, tuple("0123456789")) for each in (pixels, MappedImages(folder / "images.npy"))
    )
    rows = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    single: dict[str, Callable[[Image.Image], Tensor] | None] = {"torchvision": of_torchvision(), "pil": by_hand}
    epochs = {"resident": ours(held, batch, "resident"), "mapped": ours(mapped, batch, "streamed")}
    return epochs | {
        name: over(DataLoader(Pictures(rows, labels.tolist(), transform), batch, shuffle=True))
        for name, transform in single.items()
        if transform is not None
    }


def ours(data: ClassData, batch: int, feeding: Any) -> Callable[[], None]:
    """An epoch of our loader."""
    order, augment = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    cpu = torch.device("cpu")
    return over(Loader(data, batch, CropFlip(padding=PADDING), cpu, order, augment, feeding=feeding, workers=0))


def over(loader: Any) -> Callable[[], None]:
    """Go through a loader once."""

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


class Pictures(Dataset[tuple[Tensor, int]]):
    """Single images, as data sets of torchvision give them: an array becomes a picture, a picture is transformed."""

    def __init__(self, pixels: np.ndarray, labels: list[int], transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[row])), self.labels[row]


def by_hand(picture: Image.Image) -> Tensor:
    """Crop, flip and convert one picture by Pillow's own functions."""
    width, height = picture.size
    left, top = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)
    picture = ImageOps.expand(picture, PADDING).crop((left, top, left + width, top + height))
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div_(255)


def of_torchvision() -> Callable[[Image.Image], Tensor] | None:
    """The same by torchvision's transforms, where it can be imported."""
    try:
        transforms = importlib.import_module("torchvision.transforms")
    except (ImportError, RuntimeError):  # it refuses a build of torch that it was not made for
        return None
    steps = [
        transforms.RandomCrop(SHAPE[1], padding=PADDING),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
    composed: Callable[[Image.Image], Tensor] = transforms.Compose(steps)
    return composed


if __name__ == "__main__":
    tyro.cli(main)
