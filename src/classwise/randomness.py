"""Two kinds of randomness.

Training draws from generators that are part of the saved state (:class:`GeneratorNoise`). Audits draw from counters
keyed by seed, sample, restart and draw (:class:`KeyedNoise`), so that a verdict does not depend on the company a
sample is in, on order, on shards or on the number of processes.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

_MASK24 = (1 << 24) - 1


class Noise(Protocol):
    """A source of random tensors shaped like a batch; every call draws afresh."""

    def uniform(self, like: Tensor) -> Tensor:
        """Values uniform in [0, 1), with shape, dtype and device of ``like`` (first axis: samples)."""

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal values, with shape, dtype and device of ``like`` (first axis: samples)."""


class GeneratorNoise:
    """Noise from a torch generator, for training.

    The draw is made for the whole batch of all processes and each process keeps its rows, so that the number of
    processes does not change what a sample receives.

    Args:
        generator: The generator, on the device of the tensors.
        total: Samples in the batch of all processes; None: the batch at hand is the whole.
        rows: Which of them are here.
    """

    def __init__(self, generator: torch.Generator, total: int | None = None, rows: slice = slice(None)) -> None:
        self.generator, self.total, self.rows = generator, total, rows

    def uniform(self, like: Tensor) -> Tensor:
        """See :class:`Noise`."""
        return self._draw(torch.rand, like)

    def normal(self, like: Tensor) -> Tensor:
        """See :class:`Noise`."""
        return self._draw(torch.randn, like)

    def _draw(self, draw: object, like: Tensor) -> Tensor:
        shape = (len(like) if self.total is None else self.total, *like.shape[1:])
        made: Tensor = draw(shape, generator=self.generator, dtype=like.dtype, device=like.device)  # type: ignore[operator]
        return made[self.rows]


class KeyedNoise:
    """Noise that is a pure function of (seed, sample key, counters, number of the draw), for audits.

    Args:
        seed: Seed of the audit.
        key: Sample keys, shape (N,), int64: the index of each sample in its data set.
        *counters: What else tells draws of a sample apart, such as the attack, its restart and its step: whole numbers
            from 0, for all samples or (N,) int64 for each.
    """

    def __init__(self, seed: int, key: Tensor, *counters: int | Tensor) -> None:
        self.key = _scramble(key + _constant(seed))
        for counter in counters or (0,):
            self.key = _scramble(self.key + _spread(counter))
        self.draws = 0

    def uniform(self, like: Tensor) -> Tensor:
        """See :class:`Noise`."""
        return self._uniform(like).to(like.dtype)

    def normal(self, like: Tensor) -> Tensor:
        """See :class:`Noise`. Box–Muller transform of two uniform draws."""
        first, second = self._uniform(like), self._uniform(like)
        return ((-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()).to(like.dtype)

    def _uniform(self, like: Tensor) -> Tensor:
        """24 random bits a value, as float32 in [0, 1)."""
        key = _scramble(self.key + _constant(self.draws)).to(like.device)
        self.draws += 1
        counter = torch.arange(like[0].numel(), device=like.device)
        bits = _scramble(key[:, None] ^ _scramble(counter)[None, :]) & _MASK24
        return (bits.float() / (1 << 24)).view(like.shape)


def _constant(number: int) -> int:
    """A well-spread 64-bit constant for a small number (as torch wants it: signed)."""
    spread = (number + 1) * 0x9E3779B97F4A7C15 % (1 << 64)
    return spread - (1 << 64) if spread >= 1 << 63 else spread


def _spread(number: int | Tensor) -> int | Tensor:
    """The same constants for a tensor of numbers; int64 wraps around as the modulus does."""
    return _constant(number) if isinstance(number, int) else (number + 1) * _constant(0)


def _scramble(bits: Tensor) -> Tensor:
    """Mix 64-bit integers (the finaliser of SplitMix64: Steele, Lea, Flood 2014); wraps around on overflow."""
    bits = (bits ^ _shift(bits, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    bits = (bits ^ _shift(bits, 27)) * (0x94D049BB133111EB - (1 << 64))
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical shift to the right (torch shifts int64 arithmetically)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
