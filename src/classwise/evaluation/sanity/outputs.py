"""Checks of what a model answers: kind of output, repeatability, its own state."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from classwise.evaluation.check import Check
from classwise.evaluation.sanity.verdicts import found

SUMS = 1e-4
"""How far the sum of a row of probabilities may be from 1 through rounding; the same as when a model is admitted."""
REPEATS = 1e-4
"""How far two answers to the same images may differ, relative to the largest logit: far above what the order of
additions changes in float32 (about 1e-6), far below what noise meant as a defence does."""


def probabilities(logits: Tensor) -> Check:
    """Whether outputs (N, K) are probabilities instead of logits."""
    rows = logits.double() if logits.device.type != "mps" else logits
    if bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() <= SUMS).all()):
        return found(
            "probabilities",
            "fail",
            f"All {len(rows)} rows of the output are non-negative and sum to 1, so they are probabilities: a loss that "
            "takes them for logits takes a softmax of a softmax, whose gradients are tiny and wrong; remove the final "
            "softmax and audit the logits.",
        )
    if bool((rows.logsumexp(1).abs() <= SUMS).all()):
        return found(
            "probabilities",
            "pass",
            "The outputs are logarithms of probabilities: as good as logits, since losses do not see a shift of a row.",
        )
    return found("probabilities", "pass", "The outputs are not probabilities.")


def changed_model(in_train_mode: Sequence[str], before: str, after: str) -> Check:
    """Whether running a model changed it.

    Args:
        in_train_mode: Submodules in train mode after a forward pass in eval mode.
        before: Digest of weights and buffers before.
        after: The same afterwards.
    """
    faults = []
    if in_train_mode:
        more = f" and {len(in_train_mode) - 1} more submodules" if len(in_train_mode) > 1 else ""
        faults.append(f"a forward pass in eval mode leaves {in_train_mode[0]}{more} in train mode")
    if before != after:
        faults.append("weights or buffers (such as BatchNorm statistics) differ from those before it was run")
    if not faults:
        return found(
            "changed-model", "pass", "Running the model changes neither its modes nor its weights and buffers."
        )
    return found(
        "changed-model",
        "fail",
        f"Running the model changes it: {', and '.join(faults)}; the images of one audit were judged by different "
        "models, so no figure belongs to any of them; take train() calls and statistics updates out of its forward pass, "
        "audit with attacks whose bn_mode is eval, and load the weights anew.",
    )


def randomised(logits: Tensor, again: Tensor) -> Check:
    """Whether two answers (N, K) to the same images differ by more than rounding."""
    scale = float(logits.abs().amax().clamp_min(1e-30))
    apart = float((logits - again).abs().amax()) / scale
    if apart <= REPEATS:
        return found(
            "randomised", "pass", f"Two answers to the same images differ by {apart:.1g} of the largest logit."
        )
    flipped = int((logits.argmax(1) != again.argmax(1)).sum())
    return found(
        "randomised",
        "fail",
        f"Two answers to the same images differ by {apart:.2g} of the largest logit and in {flipped} of {len(logits)} "
        "predictions: the model draws random numbers, so a verdict holds for one draw only and gradients of one draw "
        "mislead an attack; switch the randomness off, or average the logits over many draws and audit the average.",
    )
