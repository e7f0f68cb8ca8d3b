"""Two and three classes: losses that need more are replaced, which is said, and nothing crashes."""

import numpy as np
import pytest
import torch
from torch import nn

import classwise as cw
from classwise import ClassData
from classwise.attacks.suite import SUITES
from classwise.progress import Silent

STANDARD = [
    cw.attacks.APGD(steps=10),
    cw.attacks.APGD(steps=4, loss="targeted-dlr", targets=9),
    cw.attacks.FAB(steps=4, targets=9),
    cw.attacks.Square(queries=5),
]
"""The parts of "standard", with fewer steps."""


def problem(classes: int) -> tuple[nn.Module, ClassData]:
    """A linear model on images whose pixels the radius 0.1 cannot drive out of the box."""
    torch.manual_seed(classes)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).eval()
    images = 0.2 + 0.6 * torch.rand(60, 1, 4, 4)
    labels = model(images).argmax(1)
    labels[:classes] = torch.arange(classes)
    return model, ClassData(images, labels, tuple("abc"[:classes]))


def robust(model: nn.Module, data: ClassData, radius: float) -> np.ndarray:
    """In closed form: no class overtakes the label while each pixel moves by the radius against it."""
    weight, bias = model[1].weight.double(), model[1].bias.double()
    logits = data.images.double().flatten(1) @ weight.T + bias
    own = logits.gather(1, data.labels[:, None])
    reach = radius * (weight[data.labels][:, None] - weight[None]).abs().sum(2)
    return ((own - logits - reach) > 0).scatter(1, data.labels[:, None], True).all(1).numpy()  # type: ignore[no-any-return]


def test_the_list_is_that_of_the_suite() -> None:
    assert [type(each) for each in STANDARD] == [type(each) for each in SUITES["standard"]]
    assert [getattr(each, "loss", None) for each in STANDARD] == [
        getattr(each, "loss", None) for each in SUITES["standard"]
    ]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_few_classes_warn_and_do_not_crash(classes: int, precision: str) -> None:
    model, data = problem(classes)
    with pytest.warns(UserWarning, match="classes") as told:
        result = cw.audit(
            model, data, threat=cw.linf("0.1"), attacks=STANDARD, precision=precision, progress=Silent(), batch_size=16
        )
    sentences = sorted({str(each.message) for each in told})
    left = f"{classes} classes leave {classes - 1} targets instead of 9"
    assert any(f"with {classes}, targeted-cross-entropy stands in" in each for each in sentences)
    assert sum(left in each for each in sentences) == 2
    expected = robust(model, data, 0.1)
    assert 5 < expected.sum() < 55
    assert np.array_equal(result.outcomes.robust_correct(0), expected)


def test_three_classes_are_enough_for_the_plain_dlr() -> None:
    model, data = problem(3)
    attack = cw.attacks.APGD(steps=20, loss="dlr")
    found = cw.audit(model, data, threat=cw.linf("0.1"), attacks=attack, progress=Silent()).outcomes.robust_correct(0)
    expected = robust(model, data, 0.1)
    assert not (expected & ~found).any()
    # Its gradient also pulls at the denominator, and need not lead straight to the boundary.
    assert (~found).sum() >= 0.8 * (~expected).sum()


@pytest.mark.parametrize(("loss", "classes"), [("dlr", 2), ("targeted-dlr", 2), ("targeted-dlr", 3)])
def test_what_stands_in_finds_what_there_is(loss: str, classes: int) -> None:
    model, data = problem(classes)
    attack = cw.attacks.APGD(steps=10, loss=loss, targets=classes - 1)
    with pytest.warns(UserWarning, match="stands in for it"):
        result = cw.audit(model, data, threat=cw.linf("0.1"), attacks=attack, progress=Silent())
    found, expected = result.outcomes.robust_correct(0), robust(model, data, 0.1)
    assert not (expected & ~found).any()
    # With three classes cross-entropy pushes the third one down too, and misses some of what is near the border.
    assert (~found).sum() >= (1 if classes == 2 else 0.7) * (~expected).sum()
