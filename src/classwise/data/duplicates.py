"""The same image in two roles: figures on images that training has seen are too high."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

from classwise.data.dataset import ClassData
from classwise.data.stored import FolderImages

SHOWN = 3
"""Pairs that a sentence names."""
KEPT = 100
"""Pairs that are kept."""
_BLOCK = 1024


@dataclass(frozen=True)
class Duplicates:
    """Images of one role that occur in another, pixel by pixel.

    Args:
        first: The one role, such as "train".
        second: The other role, such as "test".
        images: How many images of the second role occur in the first.
        of: How many images the second role has.
        relabelled: How many of ``images`` have another label there.
        pairs: Index of an image in the first role and in the second, for up to ``KEPT`` of them.
    """

    first: str
    second: str
    images: int
    of: int
    relabelled: int
    pairs: tuple[tuple[int, int], ...]

    def sentence(self, called: Callable[[int], str] = str) -> str:
        """What was found and what to do about it, in words.

        Args:
            called: What the image with some index is called, such as its file.
        """
        some = ", ".join(
            f"{called(there)} in {self.second} = {called(here)} in {self.first}" for here, there in self.pairs[:SHOWN]
        )
        more = ", …" if self.images > SHOWN else ""
        label = f", {self.relabelled} of them with another label" if self.relabelled else ""
        return (
            f"{self.images} of {self.of} {self.second} images are {self.first} images too, pixel by pixel{label} "
            f"({some}{more}): figures on them are too high; keep each image in one role only"
        )


def find_duplicates(roles: Mapping[str, ClassData], only: str = "") -> tuple[Duplicates, ...]:
    """Compare roles by a hash of each image.

    Args:
        roles: Role → its images.
        only: The role whose images are compared with those before it; empty: every pair of roles is compared.

    Returns:
        One entry for each pair of roles that share an image; empty where there is none.
    """
    kinds = {type(data.images) for data in roles.values()}
    hashes = {role: image_hashes(data, files=kinds == {FolderImages}) for role, data in roles.items()}
    found = []
    for first, second in combinations(roles, 2):
        if only not in ("", second):
            continue
        rows = {digest: row for row, digest in reversed([*enumerate(hashes[first])])}
        shared = [(rows[digest], row) for row, digest in enumerate(hashes[second]) if digest in rows]
        if not shared:
            continue
        here, there = roles[first], roles[second]
        found.append(
            Duplicates(
                first=first,
                second=second,
                images=len(shared),
                of=len(there),
                relabelled=sum(int(here.labels[a]) != int(there.labels[b]) for a, b in shared),
                pairs=tuple((int(here.index[a]), int(there.index[b])) for a, b in shared[:KEPT]),
            )
        )
    return tuple(found)


def warn_of_duplicates(
    roles: Mapping[str, ClassData], called: Callable[[int], str] = str, only: str = ""
) -> tuple[Duplicates, ...]:
    """Warn of every pair of roles that share images; see :func:`find_duplicates`."""
    found = find_duplicates(roles, only)
    for each in found:
        warnings.warn(each.sentence(called), stacklevel=2)
    return found


def image_hashes(data: ClassData, files: bool = False) -> list[bytes]:
    """A hash of each image (BLAKE2b, 16 bytes); images of one type, shape and content have the same.

    Args:
        data: The images.
        files: Whether image files are compared as they are, without decoding them.
    """
    images = data.images
    if files:
        assert isinstance(images, FolderImages)
        return [_hash(content) for content in images.contents()]
    hashes = []
    for start in range(0, len(data), _BLOCK):
        block = images[start : start + _BLOCK].cpu().contiguous().numpy()
        hashes += [_hash(image.data) for image in block]
    return hashes


def _hash(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
