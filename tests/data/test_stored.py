"""Images that stay on disk stand in for the same images in memory."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import classwise as cw
from classwise import ClassData
from classwise.data import FolderImages, MappedImages, Split, StoredImages, stored
from classwise.progress import Silent

N = 24
IMAGES = torch.randint(0, 256, (N, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % 3
NAMES = ("ant", "bee", "cat")


def mapped(folder: Path, layout: str = "nchw") -> MappedImages:
    axes = {"nchw": IMAGES, "nhwc": IMAGES.permute(0, 2, 3, 1), "nhw": IMAGES[:, 0]}[layout]
    np.save(folder / "images.npy", axes.numpy())
    return MappedImages(folder / "images.npy", layout)  # type: ignore[arg-type]


def files(folder: Path, images: Tensor = IMAGES) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        pixels = image.permute(1, 2, 0).numpy()
        Image.fromarray(pixels if len(image) == 3 else pixels[:, :, 0]).save(path)
    return paths


@pytest.fixture(params=["nchw", "nhwc", "nhw", "files", "grey files"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[StoredImages, Tensor]:
    """Stored images, and the same in memory."""
    grey = IMAGES[:, :1]
    if request.param == "files":
        return FolderImages(files(tmp_path / "png"), size=(5, 6)), IMAGES
    if request.param == "grey files":
        return FolderImages(files(tmp_path / "png", grey), size=(5, 6), channels=1), grey
    return mapped(tmp_path, request.param), grey if request.param == "nhw" else IMAGES


def test_rows_and_subsets_are_those_of_the_tensor(both: tuple[StoredImages, Tensor]) -> None:
    images, held = both
    assert len(images) == N
    assert images.shape == held.shape
    assert (images.dim(), images.dtype, images.nbytes) == (4, torch.uint8, held.nbytes)
    some = torch.tensor([7, 0, 7, 23, -1])
    for rows in (some, slice(None), slice(2, 9, 3), slice(-4, None), slice(0, 0), some[:0]):
        found = images[rows]
        assert torch.equal(found, held[rows])
        assert found.dtype == torch.uint8
        part = images.subset(rows)
        assert part.shape == held[rows].shape
        assert torch.equal(part[:], held[rows])
    assert torch.equal(images.subset(some).subset(torch.tensor([4, 2]))[:], held[[-1, 7]])
    assert (images[some] ^ 255).any()  # what was read may be written to, and is no part of the file
    images[some].zero_()
    assert torch.equal(images[:], held)


def test_a_copy_for_a_worker_reads_the_same_and_carries_no_pixels(tmp_path: Path) -> None:
    images = mapped(tmp_path)
    assert torch.equal(images[:], IMAGES)
    copy = pickle.dumps(images.subset(torch.tensor([3, 1])))
    assert images.path.read_bytes()[-200:] not in copy
    assert torch.equal(pickle.loads(copy)[:], IMAGES[[3, 1]])  # noqa: S301 - our own
    folder = FolderImages(files(tmp_path / "png"), size=(5, 6))
    assert torch.equal(pickle.loads(pickle.dumps(folder))[:], IMAGES)  # noqa: S301


def test_the_checksum_of_a_mapped_file_is_that_of_the_images_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ClassData(IMAGES, LABELS, NAMES)
    monkeypatch.setattr(stored, "CHUNK", 5 * IMAGES[0].numel())  # several pieces, the last one smaller
    for layout in ("nchw", "nhwc"):
        data = ClassData(mapped(tmp_path, layout), LABELS, NAMES)
        assert data.checksum() == whole.checksum()
        assert data.subset(torch.tensor([5, 2])).checksum() == whole.subset(torch.tensor([5, 2])).checksum()
    other = ClassData(mapped(tmp_path).subset(torch.arange(N).flip(0)), LABELS, NAMES)
    assert other.checksum() != whole.checksum()


def test_the_checksum_of_files_is_of_their_bytes_and_not_of_their_names(tmp_path: Path) -> None:
    paths = files(tmp_path / "one")
    first = FolderImages(paths, size=(5, 6)).digest()
    assert FolderImages(files(tmp_path / "two"), size=(5, 6)).digest() == first
    assert FolderImages(paths, size=(5, 7)).digest() != first
    assert FolderImages(paths[::-1], size=(5, 6)).digest() != first
    files(tmp_path / "one", torch.cat([IMAGES[:-1], IMAGES[-1:] ^ 1]))
    assert FolderImages(paths, size=(5, 6)).digest() != first


def test_files_are_resized_and_turned_into_colour_or_grey(tmp_path: Path) -> None:
    even = torch.full((1, 3, 9, 4), 77, dtype=torch.uint8)
    paths = files(tmp_path / "png", even)
    assert torch.equal(FolderImages(paths, size=6)[:], torch.full((1, 3, 6, 6), 77, dtype=torch.uint8))
    assert torch.equal(FolderImages(paths, size=2, channels=1)[:], torch.full((1, 1, 2, 2), 77, dtype=torch.uint8))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "floats.npy", np.zeros((2, 3, 4, 4), np.float32))
    with pytest.raises(ValueError, match=r"floats.npy' has shape \(2, 3, 4, 4\) and type float32: give uint8 images"):
        MappedImages(tmp_path / "floats.npy")
    np.save(tmp_path / "flat.npy", np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="axes nchw"):
        MappedImages(tmp_path / "flat.npy")
    np.savez(tmp_path / "both.npz", images=np.zeros((2, 3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"is an archive of arrays: give a \.npy file"):
        MappedImages(tmp_path / "both.npz")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name in ("missing.npy", "objects.npy"):
        with pytest.raises(ValueError, match=f"{name}' cannot be mapped .*: give a .npy file of numbers"):
            MappedImages(tmp_path / name)
    paths = files(tmp_path / "png")
    images = FolderImages(paths, size=(5, 6))
    paths[2].write_bytes(b"no image")
    paths[4].unlink()
    with pytest.raises(ValueError, match=r"2.png' is no image"):
        images[torch.tensor([1, 2])]
    with pytest.raises(ValueError, match=r"4.png' cannot be read \(No such file or directory\): put the file back"):
        images[torch.tensor([4])]


def test_labelled_images_do_the_same_whether_stored_or_held(both: tuple[StoredImages, Tensor]) -> None:
    images, held = both
    index = torch.arange(N) * 10
    here, there = (ClassData(each, LABELS, NAMES, index) for each in (held, images))
    pairs = [
        (here, there),
        (here.at([50, 20]), there.at([50, 20])),
        (here.first_per_class(2), there.first_per_class(2)),
    ]
    roles = [Split(at_least=2, fraction=0).apply(data) for data in (here, there)]
    pairs += [(roles[0].train, roles[1].train), (roles[0].validation, roles[1].validation)]
    for one, other in pairs:
        assert isinstance(other.images, StoredImages)
        assert len(one) == len(other)
        assert one.shape == other.shape
        assert torch.equal(one.index, other.index)
        for left, right in zip(one.batch(slice(None)), other.batch(slice(None)), strict=True):
            assert torch.equal(left, right)


def test_an_audit_finds_the_same_on_stored_images(both: tuple[StoredImages, Tensor]) -> None:
    images, held = both
    model = nn.Sequential(nn.Flatten(), nn.Linear(held[0].numel(), 3)).eval()
    nn.init.normal_(model[1].weight, std=0.3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model[1].bias -= model(held.float() / 255).mean(0)  # so that every class is predicted
        labels = model(held.float() / 255).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    results = [
        cw.audit(
            model,
            ClassData(each, labels, NAMES),
            threat=cw.linf("0.05"),
            attacks="pgd-3+square-20",
            batch_size=7,
            progress=Silent(),
        )
        for each in (held, images)
    ]
    one, other = (result.outcomes for result in results)
    assert 0 < one.robust_correct(0).sum() < one.clean_correct.sum() < N
    np.testing.assert_array_equal(one.robust_correct(0), other.robust_correct(0))
    np.testing.assert_array_equal(one.prediction, other.prediction)
    np.testing.assert_array_equal(results[0].examples.perturbed, results[1].examples.perturbed)
    assert len(results[0].examples.perturbed)
