"""Our suites and each of their parts against verdicts of the reference AutoAttack on real images."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise.attacks import attack_list
from classwise.data import ClassData
from classwise.evaluation.collect import Evaluator
from classwise.models import ResNetCIFAR, load_foreign
from classwise.training.runtime import search_precision

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EIGHT = cw.linf("8/255")
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class Quantised(nn.Module):
    """A network behind an input quantiser of 16 levels, which has no gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((15 * x).round() / 15)


class Steep(nn.Module):
    """A network with logits so large that the softmax of most images is exactly 0 and 1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * self.net(x)


WRAPPERS = {"plain": lambda net: net, "quantised16": Quantised, "logits_x1000": Steep}


@pytest.fixture(scope="module", autouse=True)
def all_cores() -> Iterator[None]:
    """These nets are large enough to gain from all of them."""
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net(checkpoint: Path) -> nn.Module:
    network = ResNetCIFAR(depth=20).build(10, (3, 32, 32))
    load_foreign(network, checkpoint)
    return network.eval()


@pytest.fixture(scope="module")
def images(cifar10: Path) -> ClassData:
    return cw.data.load("cifar10", folder=cifar10).test


@pytest.fixture(scope="module")
def parts(shared: Path) -> dict[str, Any]:
    with np.load(shared / "fixtures" / "autoattack_parts.npz") as arrays:
        return dict(arrays)


def test_standard_agrees_sample_by_sample(net: nn.Module, images: ClassData, shared: Path) -> None:
    """In the precision that is the default here; the parts below are run in fp32."""
    x, _ = images.batch(slice(0, 1))
    precision = search_precision("auto", net, x)
    with np.load(shared / "fixtures" / "autoattack_resnet20.npz") as arrays:
        index, clean, robust = arrays["index"], arrays["clean"], arrays["robust"]
    evaluator = Evaluator([EIGHT], attack_list("standard"), batch_size=128, precision=precision)
    outcomes = evaluator.collect(net, images.at(index.tolist()))
    ours = outcomes.robust_correct(0)
    assert np.array_equal(outcomes.clean_correct, clean)
    assert int((ours == robust).sum()) >= 198
    assert int(ours.sum()) <= int(robust.sum()) + 1
    # The first part breaks nearly all that can be broken: 144 of 145 in the reference.
    by_first = int((outcomes.broken_by[0] == 0).sum())
    assert by_first >= 142


@pytest.fixture(scope="module")
def left(net: nn.Module, images: ClassData, parts: dict[str, Any]) -> dict[tuple[str, str], Bools]:
    """Which images each part alone leaves, by model and part."""
    data = images.at(parts["index"].tolist())
    found = {}
    for key in parts:
        model, _, part = key.rpartition("_")
        if part not in ("index", "clean"):
            evaluator = Evaluator([EIGHT], attack_list(part), batch_size=128, precision="exact")
            found[model, part] = evaluator.collect(WRAPPERS[model](net), data).robust_correct(0)
    return found


def test_every_stored_part_was_run(left: dict[tuple[str, str], Bools]) -> None:
    assert {part for _, part in left} == {"apgd-ce", "apgd-t", "fab-t", "square"}
    assert {model for model, _ in left} == set(WRAPPERS)


def test_each_part_alone_is_as_strong_as_the_reference(
    left: dict[tuple[str, str], Bools], parts: dict[str, Any]
) -> None:
    for (model, part), ours in left.items():
        theirs = parts[f"{model}_{part}"]
        slack = 5 if part == "square" else 3  # Square is a random search
        assert int(ours.sum()) <= int(theirs.sum()) + slack, (model, part)


def test_a_part_breaks_what_another_leaves_where_the_reference_does(
    left: dict[tuple[str, str], Bools], parts: dict[str, Any]
) -> None:
    """Zero gradients stop APGD-CE, not Square; saturated ones stop APGD-CE, not APGD-T."""
    for (model, part), ours in left.items():
        for (other_model, other), others in left.items():
            if other_model != model or other == part:
                continue
            theirs = int((parts[f"{model}_{other}"] & ~parts[f"{model}_{part}"]).sum())
            if theirs >= 10:
                assert int((others & ~ours).sum()) >= theirs - 5, (model, part, other)


def test_without_square_a_quantised_input_looks_safe(left: dict[tuple[str, str], Bools]) -> None:
    assert int(left["quantised16", "apgd-ce"].sum()) >= 80
    assert int(left["quantised16", "square"].sum()) <= 35


def test_without_targets_steep_logits_look_safe(left: dict[tuple[str, str], Bools]) -> None:
    assert int(left["logits_x1000", "apgd-ce"].sum()) >= 60
    assert int(left["logits_x1000", "apgd-t"].sum()) <= 23
