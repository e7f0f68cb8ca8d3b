"""Does the network receive what it was trained on? A normalisation done twice, or not at all."""

from __future__ import annotations

import torch
from torch import Tensor

from classwise.evaluation.check import Check
from classwise.evaluation.sanity.look import Look, Probe, moments
from classwise.evaluation.sanity.sign_test import CERTAIN, chance
from classwise.evaluation.sanity.verdicts import found

GAIN = 0.1
"""Rise of clean accuracy that another range of the input must bring before the present one counts as wrong."""
TWICE = (2.5, 12.0)
"""Standard deviation of the first layer's input that two normalisations in a row give (one gives about 1; an input in
0..255 about 60)."""


def input_range(at: Probe, look: Look) -> Check:
    """Whether clean images in another range are classified much better.

    What the first layer receives suggests which range to try; whether that is right is decided by accuracy, so that
    networks trained on any range whatever pass when they are given it.
    """
    right = look.logits.argmax(1) == at.y
    best, gained, lost = "", 0, 0
    for described, x in _others(at.x, look.seen).items():
        now = _right(at, x)
        if now is None:
            continue
        more, fewer = int((now & ~right).sum()), int((right & ~now).sum())
        if more - fewer > gained - lost:
            best, gained, lost = described, more, fewer
    seen = _sentence(look.seen)
    accuracy = f"{100 * float(right.float().mean()):.0f} %"
    images = len(at.x)
    if gained - lost >= GAIN * images and chance(gained, lost) < CERTAIN:
        raised = 100 * float(right.float().mean()) + 100 * (gained - lost) / images
        return found(
            "input-range",
            "fail",
            f"{seen}; of {images} clean images {accuracy} are right as they are and {raised:.0f} % {best}: the network "
            "was trained on another range of its input; give images in [0, 1] to a model that normalises exactly once.",
        )
    if look.seen is not None and _looks_doubled(look.seen):
        return found(
            "input-range",
            "warn",
            f"{seen}, as after two normalisations in a row, but the clean accuracy of {accuracy} hardly depends on it: the "
            "network may have been trained so; if training normalised once, take one of the two out.",
        )
    return found(
        "input-range",
        "pass",
        f"{seen}; the clean accuracy of {accuracy} does not rise by {100 * GAIN:.0f} points in another range.",
    )


def _others(x: Tensor, seen: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
    """The same images in other ranges, by words that follow an accuracy.

    A network sees (x - m) / s once or twice. Twice: seen = ((x - m) / s - m) / s, hence s^2 = std / std seen and
    m (1 + s) = mean - s^2 * mean seen; where nothing is seen, m and s are the images' own mean and deviation.
    """
    mean, std = (_channel(each) for each in moments(x))
    std = std.clamp_min(1e-6)
    others = {"in the range 0..255": 255 * x, "when normalised first": (x - mean) / std}
    if seen is None:
        return others | {"with one normalisation less": x * std + mean}
    seen_mean, seen_std = (_channel(each) for each in seen)
    square = std / seen_std.clamp_min(1e-6)
    scale = square.sqrt()
    return others | {
        "with one normalisation less": x * scale + (mean - square * seen_mean) / (1 + scale),
        "without any normalisation": x * square + mean - square * seen_mean,
    }


def _right(at: Probe, x: Tensor) -> Tensor | None:
    """(N,) which images are classified correctly in another range; None where the model refuses it."""
    try:
        return at.logits(x).argmax(1) == at.y
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError):  # a model may insist on its range
        return None


def _looks_doubled(seen: tuple[Tensor, Tensor]) -> bool:
    mean, std = (float(each.mean()) for each in seen)
    return TWICE[0] <= std <= TWICE[1] and mean < 0


def _sentence(seen: tuple[Tensor, Tensor] | None) -> str:
    if seen is None:
        return "What the first layer receives cannot be seen"
    mean, std = (" ".join(f"{value:.2g}" for value in each.tolist()) for each in seen)
    return f"The first layer receives values of mean {mean} and standard deviation {std}"


def _channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)
