"""Cutout, and the two ways of cropping, against loops. Crops and flips themselves: tests/training/test_loader.py."""

from typing import Any

import pytest
import torch
from torch import Tensor

from classwise.data import Augmentation, ClassData, CropFlip, Resident, Streamed
from classwise.randomness import GeneratorNoise, Noise


def noise(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(torch.Generator().manual_seed(seed))


def images(n: int, kind: torch.dtype, shape: tuple[int, int, int] = (3, 9, 7)) -> Tensor:
    return torch.randint(1, 256, (n, *shape), generator=torch.Generator().manual_seed(n)).to(kind)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("side", [1, 3, 4, 30])
def test_cutout_equals_a_loop(kind: torch.dtype, side: int) -> None:
    given = images(40, kind)
    made = CropFlip(padding=0, flip=False, cutout=side)(given, noise())
    generator = torch.Generator().manual_seed(0)
    torch.rand(40, 3, generator=generator)  # crops and flips are drawn first
    draws = torch.rand(40, 2, generator=generator)
    assert made.dtype == kind
    for image, draw, found in zip(given, draws.tolist(), made, strict=True):
        down, right = int(draw[0] * 9), int(draw[1] * 7)
        expected = image.clone()
        for y in range(9):
            for x in range(7):
                if 0 <= y - (down - side // 2) < side and 0 <= x - (right - side // 2) < side:
                    expected[:, y, x] = 0
        assert torch.equal(found, expected)
    blank = (made == 0).all(1)
    assert blank.flatten(1).any(1).all()  # the middle of the square is always inside
    if side == 3:
        assert len(blank.flatten(1).sum(1).unique()) == 3  # 9, 6 and 4 pixels: whole, at a border, in a corner


def test_cutout_is_on_every_pixel_equally_often() -> None:
    made = CropFlip(padding=0, flip=False, cutout=1)(torch.ones(6000, 1, 4, 3), noise())
    counts = (made == 0).sum((0, 1))
    assert int(counts.sum()) == 6000
    assert 400 < int(counts.min()) <= int(counts.max()) < 600


def test_cutout_leaves_crops_and_flips_as_they_are_without_it() -> None:
    given = images(30, torch.uint8)
    plain, cut = CropFlip(padding=2)(given, noise()), CropFlip(padding=2, cutout=3)(given, noise())
    kept = cut != 0
    assert kept.float().mean() > 0.6
    assert torch.equal(cut[kept], plain[kept])


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("n", [0, 1, 33])
def test_the_ways_of_the_processor_equal_that_of_an_accelerator(
    kind: torch.dtype, mode: Any, flip: bool, padding: int, n: int
) -> None:
    """Images padded at once and images padded when taken, against single values gathered out of padded images."""
    given = images(40, kind)
    rows = torch.randint(0, 40, (n,), generator=torch.Generator().manual_seed(1))
    augmentation = CropFlip(padding=padding, mode=mode, flip=flip, cutout=3)
    copied = augmentation(given[rows], noise())
    taken = augmentation.variants(augmentation.kept(given), rows, noise())
    draws = noise()
    gathered = augmentation._gathered(given[rows], *augmentation._drawn(rows, draws))
    assert copied.dtype == kind
    assert copied.shape == (n, *given.shape[1:])
    assert torch.equal(copied, augmentation._blanked(gathered, draws))
    assert torch.equal(taken, copied)


def test_an_augmentation_of_ones_own_needs_no_more_than_a_call() -> None:
    class Brighter(Augmentation):
        def __call__(self, images: Tensor, noise: Noise) -> Tensor:
            return images + noise.uniform(images)

    given, rows = images(9, torch.float32), torch.tensor([3, 3, 0])
    augmentation = Brighter()
    assert torch.equal(
        augmentation.variants(augmentation.kept(given), rows, noise()), augmentation(given[rows], noise())
    )


@pytest.mark.parametrize("n", [0, 1, 1024, 1025, 2100])
def test_images_are_padded_in_pieces(n: int) -> None:
    given = images(n, torch.uint8, (1, 4, 3))
    kept = CropFlip(padding=2, mode="reflect").kept(given)
    padded = torch.nn.functional.pad(given.float(), (2,) * 4, mode="reflect").to(torch.uint8)
    assert torch.equal(kept, torch.cat([padded, padded.flip(3)]))


def test_a_call_of_ones_own_is_not_passed_by() -> None:
    """A class that changes the call alone gets its call, also where the class below it knows a faster way."""

    class Dark(CropFlip):
        def __call__(self, images: Tensor, noise: Noise) -> Tensor:
            return super().__call__(images, noise) // 2

    class Same(CropFlip):
        pass

    data = ClassData(images(30, torch.uint8), torch.zeros(30, dtype=torch.int64), ("a",))
    rows, cpu = torch.arange(10), torch.device("cpu")
    for kind in (Dark, Same, CropFlip):
        augmentation = kind(padding=2)
        taken = Resident(data, augmentation, cpu).take(rows, noise())
        assert torch.equal(taken, augmentation(images(30, torch.uint8)[:10], noise()).float() / 255)
        assert torch.equal(taken, Streamed(data, augmentation, cpu, 0).take(rows, noise()))


def test_the_images_given_stay_as_they_are() -> None:
    for given in (images(20, torch.uint8), images(20, torch.float32), images(20, torch.uint8)[:, :, :, 1:6]):
        before = given.clone()
        made = CropFlip(padding=2, cutout=4)(given, noise())
        made.zero_()
        assert torch.equal(given, before)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="cutout -1 must be at least 1 pixel, or 0 for none"):
        CropFlip(cutout=-1)
    with pytest.raises(ValueError, match="padding -1 must be at least 0"):
        CropFlip(padding=-1)
    with pytest.raises(ValueError, match="padding 7 cannot be mirrored from 9x7 pixels"):
        CropFlip(padding=7, mode="reflect")(images(2, torch.uint8), noise())
