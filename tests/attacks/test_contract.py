"""What the base class guarantees, whatever a subclass does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import config
from classwise.attacks import PGD, Attack
from classwise.configuration import replace
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel, l2, linf


@config
class Rogue(Attack):
    """Returns what it is told."""

    kind_of_wrong: str = "far"

    def run(
        self,
        model: Any,
        x: Tensor,
        y: Tensor,
        threat: Any,
        radius: Any,
        step_scale: Any,
        steps_scale: Any,
        noise: Any,
        inner: Any,
    ) -> Tensor:
        spread = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        return {
            "far": x + 10 * spread,
            "just outside": x + 1.3 * float(threat.radius) * spread.sign(),
            "below the box": torch.full_like(x, -3.0),
            "a hair away": x + 5e-7 * (0.5 - x).sign(),
            "with gradient": (x + spread).requires_grad_() * 2,
        }[self.kind_of_wrong]


@pytest.mark.parametrize("wrong", ["far", "just outside", "below the box", "a hair away", "with gradient"])
@pytest.mark.parametrize("threat", [linf("0.1"), l2("0.4")], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_result_is_in_the_ball_and_in_the_box(
    wrong: str, threat: ThreatModel, dtype: torch.dtype, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images[0].to(dtype), images[1]
    radius = torch.linspace(0, 2 * float(threat.radius), 40)
    x_adv = Rogue(kind_of_wrong=wrong)(
        linear, x, y, threat=threat, noise=KeyedNoise(0, torch.arange(40)), radius=radius
    )
    assert bool((threat.distance(x_adv, x) <= radius.double() + 2e-6).all())
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    assert torch.equal(x_adv[0], x[0])
    assert x_adv.dtype == dtype
    assert not x_adv.requires_grad


def test_a_result_that_is_fine_is_left_as_it_is(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """Projecting again would change the last bits of what the attack found."""

    @config
    class Fine(Attack):
        def run(self, model: Any, x: Tensor, *_: Any) -> Tensor:
            return (x + 0.0999999).clamp(0, 1)

    x, y = images[0].float(), images[1]
    x_adv = Fine()(linear, x, y, threat=linf("0.1"), noise=KeyedNoise(0, torch.arange(40)))
    assert torch.equal(x_adv, (x + 0.0999999).clamp(0, 1))


@pytest.mark.parametrize("start", ["uniform", "gauss", "none"])
@pytest.mark.parametrize("threat", [linf("0.1"), l2("0.4")], ids=str)
def test_radius_zero_returns_the_original_exactly(
    start: Any, threat: ThreatModel, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    radius = (torch.arange(40) % 2) * float(threat.radius)
    x_adv = PGD(steps=3, start=start)(linear, x, y, threat=threat, noise=KeyedNoise(0, torch.arange(40)), radius=radius)
    assert torch.equal(x_adv[::2], x[::2])
    assert bool((x_adv[1::2] != x[1::2]).flatten(1).any(1).all())
    none = PGD(steps=3, start=start)(
        linear, x, y, threat=replace(threat, radius=0), noise=KeyedNoise(0, torch.arange(40))
    )
    assert torch.equal(none, x)


class Watched(nn.Module):
    """A network with BatchNorm and dropout that notes the modes it is run in, and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout, self.head = nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Linear(18, 5)
        self.seen: list[tuple[bool, ...]] = []
        self.fails_at = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((self.training, self.norm.training, self.dropout.training))
        if len(self.seen) == self.fails_at:
            raise RuntimeError("out of memory")
        return self.head(self.dropout(self.norm(x)).flatten(1))


@pytest.fixture
def watched() -> Callable[[], Watched]:
    def make() -> Watched:
        torch.manual_seed(0)
        model = Watched().double().train()
        model.norm.eval()  # frozen on purpose
        return model

    return make


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
@pytest.mark.parametrize("fails_at", [0, 2])
def test_modes_are_set_and_put_back_exactly(
    bn_mode: Any, fails_at: int, watched: Callable[[], Watched], images: tuple[Tensor, Tensor]
) -> None:
    model = watched()
    model.fails_at = fails_at
    arguments = {"threat": linf("0.1"), "noise": KeyedNoise(0, torch.arange(40))}
    if fails_at:
        with pytest.raises(RuntimeError, match="out of memory"):
            PGD(steps=3, bn_mode=bn_mode)(model, *images, **arguments)
    else:
        PGD(steps=3, bn_mode=bn_mode)(model, *images, **arguments)
    assert set(model.seen) == {(bn_mode == "train",) * 3}
    assert len(model.seen) == (fails_at or 3)
    assert (model.training, model.norm.training, model.dropout.training) == (True, False, True)


def test_eval_mode_leaves_buffers_alone_and_train_mode_feeds_them(
    watched: Callable[[], Watched], images: tuple[Tensor, Tensor]
) -> None:
    arguments = {"threat": linf("0.1"), "noise": KeyedNoise(0, torch.arange(40))}
    model = watched()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    PGD(steps=3)(model, *images, **arguments)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    PGD(steps=3, bn_mode="train")(model, *images, **arguments)
    assert int(model.norm.num_batches_tracked) == 3
    assert torch.equal(model.head.weight, before["head.weight"])


@pytest.mark.parametrize("loss", ["cross-entropy", "kl", "margin"])
def test_no_gradient_reaches_a_parameter(
    loss: Any, watched: Callable[[], Watched], images: tuple[Tensor, Tensor]
) -> None:
    model = watched()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    PGD(steps=3, loss=loss, start="gauss", restarts=2)(
        model, *images, threat=linf("0.1"), noise=KeyedNoise(0, torch.arange(40))
    )
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert model.head.bias.grad is None
    assert model.norm.weight.grad is None
    assert not images[0].requires_grad


def test_it_works_inside_no_grad(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    arguments = {"threat": linf("0.1"), "noise": KeyedNoise(0, torch.arange(40))}
    with torch.no_grad():
        inside = PGD(steps=3)(linear, *images, **arguments)
    outside = PGD(steps=3)(linear, *images, threat=linf("0.1"), noise=KeyedNoise(0, torch.arange(40)))
    assert torch.equal(inside, outside)


def test_any_function_can_be_attacked(images: tuple[Tensor, Tensor], linear: nn.Sequential) -> None:
    weight, bias = linear[1].weight.detach(), linear[1].bias.detach()
    arguments = {"threat": linf("0.1")}
    by_function = PGD(steps=3)(
        lambda x: x.flatten(1) @ weight.T + bias, *images, noise=KeyedNoise(0, torch.arange(40)), **arguments
    )
    by_module = PGD(steps=3)(linear, *images, noise=KeyedNoise(0, torch.arange(40)), **arguments)
    assert torch.allclose(by_function, by_module, atol=1e-12)


@pytest.mark.parametrize("fields", [{"steps": 0}, {"restarts": 0}, {"relative_step": 0.0}, {"step_size": 0}])
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|longer than 0"):
        PGD(**fields)


def test_equal_restarts_are_refused() -> None:
    with pytest.raises(ValueError, match="would be equal"):
        PGD(start="none", restarts=2)
