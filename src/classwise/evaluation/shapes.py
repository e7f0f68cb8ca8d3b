"""Micro-batches of a fixed shape, so that a sample's figures do not depend on how many others are at hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from classwise.attacks.base import Classifier

Result = TypeVar("Result")
STEP = 8
"""Smaller shapes are multiples of this, where they are allowed."""


class FixedShapes:
    """A model that is only ever called on batches of one size, short ones being padded.

    A kernel may round differently when a batch has another size. Where the model proves to answer bit for bit alike
    in smaller batches (as CPU kernels mostly do), short batches are padded to a multiple of 8 only.

    Args:
        model: The classifier.
        memory: Images of a batch, which may become fewer.
        flexible: Whether smaller shapes are used; see :func:`allows_smaller`.
    """

    def __init__(self, model: Classifier, memory: Memory, flexible: bool = False) -> None:
        self.model, self.memory, self.flexible = model, memory, flexible

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (N, K) for images (N, …), differentiable."""
        size = self.memory.size
        parts = [self._padded(each, size) for each in torch.split(x, size)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _padded(self, x: Tensor, size: int) -> Tensor:
        missing = min(-len(x) % STEP, size - len(x)) if self.flexible else size - len(x)
        if not missing:
            return self.model(x)
        filler = x[:1].detach().expand(missing, *x.shape[1:])
        return self.model(torch.cat([x, filler]))[: len(x)]


def allows_smaller(model: Classifier, x: Tensor, size: int) -> bool:
    """Whether logits and input gradients of images are bit for bit the same in small and in full batches.

    Args:
        model: The classifier.
        x: A few images (N, …) to try it on.
        size: Images of a full batch.
    """
    if size <= STEP:
        return False
    few = x[: min(len(x), STEP)]
    answers = []
    # A CPU's kernels are chosen by the size of an image and not of a batch; an accelerator's may be by either.
    largest = min(size, 4 * STEP) if few.device.type == "cpu" else size
    for shape in (largest, STEP, max(STEP, largest // 2 // STEP * STEP)):
        filled = few[torch.arange(shape, device=few.device) % len(few)].requires_grad_()
        try:
            with torch.enable_grad():
                logits = model(filled)
            (gradient,) = torch.autograd.grad(logits.square().sum(), filled)
        except RuntimeError as error:  # it cannot be differentiated
            if ran_out(error):
                raise
            return False
        answers.append((logits[: len(few)].detach(), gradient[: len(few)]))
    return all(torch.equal(one, other) for answer in answers[1:] for one, other in zip(answers[0], answer, strict=True))


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory ran out; a CPU's allocator says so in words only."""
    in_words = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return in_words or isinstance(error, torch.OutOfMemoryError)


class Memory:
    """How many images are worked on at once: halves itself when memory runs out, and says so.

    Args:
        size: To begin with.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[int], Result]) -> Result:
        """Call ``work`` with the size, again with half of it as long as memory runs out.

        Raises:
            torch.OutOfMemoryError: Even one image is too much.
        """
        while True:
            try:
                return work(self.size)
            except RuntimeError as error:
                if self.size == 1 or not ran_out(error):
                    raise
                self.size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warnings.warn(
                f"memory ran out: going on with {self.size} images at a time, whose last digits may differ from those "
                "of larger batches",
                stacklevel=2,
            )
