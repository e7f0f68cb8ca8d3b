"""Auto-PGD on linear models, whose margins are known exactly; rows that know nothing of each other; few classes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise.attacks.apgd import APGD
from classwise.attacks.losses import logit_margin
from classwise.attacks.stepwise import Rows, first_rows, stepped
from classwise.attacks.targets import ranked_target
from classwise.randomness import KeyedNoise
from classwise.theory.linear import boxed_robust_margin
from classwise.threat import ThreatModel, l1, l2, linf

Images = tuple[Tensor, Tensor]


def noise(n: int) -> KeyedNoise:
    return KeyedNoise(0, torch.arange(n))


def attacked(attack: APGD, model: nn.Module, images: Images, threat: ThreatModel, **fields: Any) -> Tensor:
    x, y = images
    return logit_margin(model(attack(model, x, y, threat=threat, noise=noise(len(y)), **fields)), y).detach()


@pytest.fixture
def two() -> tuple[nn.Sequential, Images]:
    """A linear model of two classes, where cross-entropy rises with the margin, and images it classifies correctly."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 2)).double()
    x = torch.rand(40, 2, 3, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    x[::2] = (1.6 * x[::2] - 0.3).clamp(0, 1)
    return model, (x, model(x).argmax(1))


@pytest.mark.parametrize(("threat", "slack"), [(linf("0.1"), 1e-9), (l1("0.6"), 0.08)], ids=str)
def test_the_exact_margin_of_a_linear_model_is_reached(
    threat: ThreatModel, slack: float, two: tuple[nn.Sequential, Images]
) -> None:
    """In l_1 a step never falls below a tenth of the radius and moves its coordinates by equal amounts, so that a few
    hundredths of the way may be left after a hundred steps (0.075 at most here, 0.019 in the median)."""
    model, (x, y) = two
    exact = boxed_robust_margin(model[1].weight, model[1].bias, x, y, float(threat.radius), norm=threat.norm).detach()
    clean = logit_margin(model(x), y).detach()
    found = attacked(APGD(), model, (x, y), threat)
    assert (found >= exact - 1e-9).all()
    assert ((found - exact) <= slack * (clean - exact) + 1e-9).all()


def test_l2_far_from_the_box_reaches_the_closed_form(two: tuple[nn.Sequential, Images]) -> None:
    model, _ = two
    x = 0.5 + 0.1 * torch.rand(20, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = model(x).argmax(1)
    slope = (model[1].weight[0] - model[1].weight[1]).detach().norm()
    exact = logit_margin(model(x), y).detach() - 0.2 * slope
    assert torch.allclose(attacked(APGD(), model, (x, y), l2("0.2")), exact, atol=1e-6)


@pytest.mark.parametrize("threat", [linf("0.1"), l2("0.4"), l1("0.6")], ids=str)
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "targeted-dlr"])
def test_a_row_alone_is_the_row_in_company(
    loss: Any, threat: ThreatModel, linear: nn.Sequential, images: Images
) -> None:
    x, y = images
    radius = torch.linspace(0.2, 1.5, len(y), dtype=x.dtype) * float(threat.radius)
    attack = APGD(loss=loss, steps=25)
    together = attack(linear, x, y, threat=threat, noise=noise(len(y)), radius=radius)
    inside = threat.distance(together, x) <= radius + 1e-9
    assert inside.all()
    for i in range(0, len(y), 7):
        # Among copies of itself, so that matrix kernels of the same shape are used and bits can be compared.
        here = torch.full_like(y, i)
        copies = attack(linear, x[here], y[here], threat=threat, noise=KeyedNoise(0, here), radius=radius[here].clone())
        assert torch.equal(together[i], copies[i]), i


@pytest.mark.parametrize("threat", [linf("0.1"), l1("0.6")], ids=str)
def test_rows_at_different_steps_share_a_batch(threat: ThreatModel, linear: nn.Sequential, images: Images) -> None:
    x, y = images[0][4:12], images[1][4:12]
    attack = APGD(steps=30)
    radius = torch.full((8,), float(threat.radius), dtype=x.dtype)

    def begun() -> Rows:
        return attack.begin(linear, threat, first_rows(x, y, radius, torch.zeros_like(y)), noise(8))

    early = late = begun()
    for _ in range(13):
        early = stepped(attack.step(linear, threat, early, noise(8)))
    both = early.join(late)
    for _ in range(10):
        both = stepped(attack.step(linear, threat, both, noise(16)))
        early = stepped(attack.step(linear, threat, early, noise(8)))
        late = stepped(attack.step(linear, threat, late, noise(8)))
    apart = early.join(late)
    assert both.step.tolist() == [23] * 8 + [10] * 8
    assert torch.equal(both.best, apart.best)
    for name, value in both.memory.items():
        assert torch.equal(value, apart.memory[name]), name


def test_targets_follow_the_ranking_and_leave_the_label_out() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 4.0], [1.0, 5.0, 4.0, 3.0]])
    y = torch.tensor([0, 2])  # the second is misclassified: its label is not a target
    ranks = [ranked_target(logits, y, torch.full_like(y, rank)).tolist() for rank in range(3)]
    assert ranks == [[3, 1], [2, 3], [1, 0]]


def test_more_steps_and_restarts_are_tasks_and_length() -> None:
    attack = APGD(loss="targeted-dlr", steps=7, restarts=3)
    assert (attack.tasks(10), attack.tasks(4), attack.length()) == (27, 9, 8)
    assert APGD(restarts=2).tasks(10) == 2


@pytest.mark.parametrize("fields", [{"steps": 0}, {"restarts": 0}, {"targets": 0}])
def test_counts_below_one_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        APGD(**fields)
