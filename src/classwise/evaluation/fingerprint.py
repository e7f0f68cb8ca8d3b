"""What tells one model from another, also where it is a function or has settings that are no weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from classwise.attacks.base import Classifier
from classwise.data.dataset import ClassData
from classwise.evaluation.admission import FIRST
from classwise.models.given import weights_digest
from classwise.models.modes import mode


def fingerprint(model: Classifier, data: ClassData, device: torch.device) -> str:
    """SHA-256 over the weights of a module, and over what it answers to the first images.

    Answers are taken to two digits of the largest one, so that the last bits of another processor do not matter.

    Args:
        model: In eval mode, on its device.
        data: Images it is meant for.
        device: Where it is.
    """
    digest = hashlib.sha256(weights_digest(model).encode() if isinstance(model, nn.Module) else b"")
    if len(data):
        x, _ = data.batch(slice(0, FIRST), device)
        with mode(model, training=False), torch.no_grad():  # one by one, so that it does not depend on memory
            logits = torch.cat([model(each) for each in torch.split(x, 1)]).double().cpu()
        scale = float(logits.abs().max()) or 1.0
        digest.update(str((100 * logits / scale).round().to(torch.int64).tolist()).encode())
    return digest.hexdigest()
