"""Can this classifier be audited at all? Asked of the first images, before hours are spent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classwise.attacks.base import Classifier
from classwise.data.dataset import ClassData
from classwise.evaluation.shapes import ran_out
from classwise.models.modes import mode
from classwise.widest import widest

FIRST = 8
"""Number of images that a model is tried on."""


def check_model(model: Classifier, data: ClassData, device: torch.device) -> None:
    """Run a model, in eval mode, on the first images of a data set.

    Args:
        model: The classifier, on the device.
        data: Images it is meant for.
        device: Where the model is.

    Raises:
        ValueError: It cannot be run on images of this shape, its output is not (N, classes) finite logits, or its
            outputs are probabilities.
    """
    if not callable(model):
        raise ValueError(
            f"the model is a {type(model).__name__}, which cannot be called on images: give a torch module that holds "
            "the weights"
        )
    x, _ = data.batch(slice(0, FIRST), device)
    try:
        with mode(model, training=False), torch.no_grad():
            answer = model(x)
    except Exception as error:  # whatever layers raise at a shape or type they were not made for
        if ran_out(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        mend = "give images of the shape it was made for, or put resizing into the model"
        if isinstance(model, nn.Module) and any(
            each.dtype not in (x.dtype, torch.int64) for each in model.parameters()
        ):
            mend = "call model.float(), since images are float32"
        raise ValueError(
            f"the model cannot be run on images of {data.name!r}, shape {data.shape}, type {x.dtype} ({reason}): {mend}"
        ) from error
    check_logits(answer, x, data.num_classes)
    rows = widest(answer)
    if bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() <= 1e-4).all()):
        raise ValueError(
            "the model's outputs are probabilities (each row sums to 1): remove its final softmax, since attacks and "
            "losses need logits"
        )


def check_gradient(model: Classifier, data: ClassData, device: torch.device) -> None:
    """Refuse a model whose output does not depend on its input in a way that can be differentiated.

    Raises:
        ValueError: Attacks by gradients cannot be run on it.
    """
    x, _ = data.batch(slice(0, 1), device)
    try:
        with mode(model, training=False), torch.enable_grad():
            logits = model(x.requires_grad_())
            used = logits.requires_grad and torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] is not None
    except RuntimeError as error:  # such as a call into another library
        if ran_out(error):
            raise
        used = False
    if not used:
        raise ValueError(
            "the model's output cannot be differentiated by its input (no_grad, detach, or another library inside): "
            "attack it without gradients, with the attack square, or make it differentiable"
        )


def check_logits(logits: Tensor, x: Tensor, classes: int) -> None:
    """Refuse outputs that are not (N, classes) finite logits; cheap enough for every batch.

    Raises:
        ValueError: With what was given and what is needed.
    """
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the model answers with a {type(logits).__name__} and not with a tensor: wrap it so that it returns logits"
        )
    if logits.dim() != 2 or logits.shape[0] != len(x) or logits.shape[1] != classes:
        raise ValueError(
            f"the model answers {tuple(logits.shape)} to {tuple(x.shape)}: it must give one logit for each of the "
            f"{classes} classes, shape ({len(x)}, {classes})"
        )
    if not bool(logits.isfinite().all()):
        raise ValueError("the model's output has entries that are not finite: check its weights and its input scaling")


def check_mode(model: Classifier) -> None:
    """Refuse a module of which any part is in train mode, so that what is audited is what is deployed.

    Raises:
        ValueError: It is in train mode.
    """
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        raise ValueError(
            "the model is in train mode: call model.eval() before auditing, so that what is audited is what is deployed"
        )
