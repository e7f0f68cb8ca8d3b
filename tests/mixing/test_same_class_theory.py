"""Same-class mixup shrinks a class's spread by lam^2 + (1 - lam)^2: class-wise errors on Gaussian classes follow."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from classwise import ClassData
from classwise.data import Batch, NoAugmentation, Resident
from classwise.mixing import SameClassMixup
from classwise.randomness import GeneratorNoise

EACH = 20_000


def errors(x: Tensor, labels: Tensor, offset: float, shift: float) -> tuple[float, float]:
    """Errors of sign(sum of x + offset) of the classes + and -, whose sums an attacker moves by so much."""
    total = x.flatten(1).sum(1) + offset
    wrong = torch.where(labels == 0, total - shift <= 0, total + shift > 0).float()
    return float(wrong[labels == 0].mean()), float(wrong[labels == 1].mean())


@pytest.mark.parametrize("case", range(5))
def test_errors_on_mixed_and_on_original_images(case: int, shared: Path) -> None:
    """The stored risks are closed forms; the simulation's error is binomial, of some 40,000 / 2 independent pairs."""
    given = json.loads((shared / "fixtures" / "methods" / "theory.json").read_text())["domain_mixup"][case]
    size = given["d"]
    labels = torch.arange(2).repeat(EACH)
    mean = torch.where(labels == 0, given["mu_plus"], -given["mu_minus"])[:, None]
    generator = torch.Generator().manual_seed(case)
    x = mean + given["sigma"] * torch.randn(2 * EACH, size, generator=generator, dtype=torch.float64)
    batch = Batch(x.view(-1, 1, 1, size), labels, labels, torch.arange(2 * EACH), 2 * EACH, slice(None))
    images = ClassData(torch.zeros(2, 1, 1, size), torch.arange(2), ("+", "-"))
    source = Resident(images, NoAugmentation(), torch.device("cpu"))
    mixed = SameClassMixup(lam=given["lam"], partners="batch").before(batch, source, GeneratorNoise(generator)).x
    for kind, trained_on, shift in (
        ("plain", batch.x, 0.0),
        ("mixup", mixed, 0.0),
        ("adv_plain", batch.x, size * given["eps"]),
        ("adv_mixup", mixed, size * given["eps"]),
    ):
        stored = given[kind]
        for images_of, risks in ((trained_on, stored["risk_on_mixed"]), (batch.x, stored["risk_on_original"])):
            found = errors(images_of, labels, stored["t_formula"], shift)
            for ours, expected in zip(found, risks, strict=True):
                assert abs(ours - expected) < 5 * math.sqrt(expected * (1 - expected) / (EACH / 2)) + 1e-4
    assert abs(given["mixup"]["risk_on_mixed"][1] - given["mixup"]["risk_on_original"][1]) > 0.01
