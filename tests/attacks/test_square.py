"""The Square attack: what a proposal may be, which one is kept, and that every row goes its own way."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classwise.attacks.losses import logit_margin
from classwise.attacks.square import Square
from classwise.attacks.square_l2 import bump, eta, profiles
from classwise.attacks.stepwise import Rows, first_rows, stepped
from classwise.randomness import KeyedNoise
from classwise.theory.linear import boxed_robust_margin, robust_margin
from classwise.threat import ThreatModel, l1, l2, linf

BOTH = pytest.mark.parametrize("threat", [linf("0.1"), l2("0.8")], ids=str)
ATTACK = Square(queries=300)
HEIGHT, WIDTH = 8, 11


class Alone(nn.Module):
    """Four classes, linear in the image; every row is computed by itself, to the last bit."""

    def __init__(self, lead: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = torch.randn(4, 3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
        self.lead = torch.tensor([lead, 0, 0, 0], dtype=torch.float64)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return torch.stack([(x * each).flatten(1).sum(1) for each in self.weight], 1) + self.lead


@pytest.fixture
def x() -> Tensor:
    """Twelve images 3x8x11, half of them touching the box."""
    images = torch.rand(12, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images[::2] = (1.6 * images[::2] - 0.3).clamp(0, 1)
    return images


def begun(attack: Square, model: Any, threat: ThreatModel, x: Tensor, y: Tensor | None = None) -> tuple[Rows, Tensor]:
    """Rows after ``begin``, of radii between half and all of the threat's, and their keys."""
    key, y = torch.arange(len(x)), torch.zeros(len(x), dtype=torch.int64) if y is None else y
    radius = float(threat.radius) * torch.linspace(0.5, 1, len(x), dtype=x.dtype)
    rows = first_rows(x, y, radius, torch.zeros_like(y))
    return attack.begin(model, threat, rows, KeyedNoise(7, key, rows.task, 0)), key


def after(attack: Square, model: Any, threat: ThreatModel, rows: Rows, key: Tensor, steps: int) -> Rows:
    """The rows so many steps later, with noise of their own as in a pool."""
    for _ in range(steps):
        rows = stepped(attack.step(model, threat, rows, KeyedNoise(7, key, rows.task, rows.step + 1)))
    return rows


@BOTH
def test_every_query_is_in_ball_and_box_and_the_loss_never_falls(threat: ThreatModel, x: Tensor) -> None:
    model = Alone(lead=60)
    rows, key = begun(ATTACK, model, threat, x)
    assert model.seen == []
    for step in range(ATTACK.length()):
        before, rows = rows, after(ATTACK, model, threat, rows, key, 1)
        (query,) = model.seen
        model.seen.clear()
        assert bool((threat.distance(query, x) <= rows.radius + 1e-12).all())
        assert float(query.min()) >= 0
        assert float(query.max()) <= 1
        assert bool((rows.memory["loss"] >= before.memory["loss"]).all())
        moved = (rows.best != before.best).flatten(1).any(1)
        assert bool((rows.memory["loss"] > before.memory["loss"])[moved].all())
        assert torch.equal(rows.best, torch.where(moved.view(-1, 1, 1, 1), query, before.best))
        if step == 0:
            assert torch.allclose(query, before.best, rtol=0, atol=1e-15)  # the start itself
    assert torch.equal(rows.memory["loss"], -logit_margin(model(rows.best), rows.y))
    assert bool((rows.step == ATTACK.length()).all())
    assert not bool(rows.fooled.any())


def test_linf_starts_from_stripes_and_changes_one_window_to_a_corner_of_the_ball(x: Tensor) -> None:
    attack, model = Square(queries=260, p=0.2), Alone(lead=60)
    rows, key = begun(attack, model, linf("0.1"), x)
    size = rows.radius.view(-1, 1, 1, 1)
    lower, upper = (x - size).clamp(0, 1), (x + size).clamp(0, 1)
    up = (rows.best == upper).all(2)
    assert torch.equal(rows.best, torch.where(up[:, :, None], upper, lower))
    assert 0.4 < float(up.double().mean()) < 0.6
    single: set[tuple[int, ...]] = set()
    sides = set()
    for step in range(attack.length()):
        before, rows = rows, after(attack, model, linf("0.1"), rows, key, 1)
        query = model.seen.pop()
        side = 0 if step == 0 else attack.side(step - 1, "linf", HEIGHT, WIDTH)
        for image in range(len(x)):
            changed = (query[image] != before.best[image]).nonzero()
            if not len(changed):
                continue
            _, top, left = changed.amin(0).tolist()
            _, bottom, right = changed.amax(0).tolist()
            assert max(bottom - top, right - left) < side
            for channel in changed[:, 0].unique():
                box = (image, channel, slice(top, bottom + 1), slice(left, right + 1))
                assert torch.equal(query[box], lower[box]) or torch.equal(query[box], upper[box])
            sides.add(side)
            if side == 1:
                single.add((top, left))
    assert sides == {4, 3, 2, 1}
    # 12 rows and 59 windows of one pixel reach nearly all of the 88 places, the last row and column too.
    assert len(single) > 80
    assert {(HEIGHT - 1, 3), (2, WIDTH - 1), (HEIGHT - 1, WIDTH - 1)} <= single


def loops(upper: int, width: int) -> np.ndarray:
    """The paper's sum over nested rectangles, for one half of a bump, at length 1."""
    half = np.zeros((upper, width))
    row, column = upper // 2, width // 2
    for ring in range(max(row, column) + 1):
        for i in range(upper):
            for j in range(width):
                if abs(i - row) <= ring and abs(j - column) <= ring:
                    half[i, j] += 1 / (ring + 1) ** 2
    return half / max(np.sqrt((half**2).sum()), 1e-300)


def slow_eta(side: int) -> np.ndarray:
    whole = np.concatenate([loops(side // 2, side), -loops(side - side // 2, side)])
    return whole / np.sqrt((whole**2).sum())


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8, 13])
def test_a_bump_is_the_sum_over_nested_rectangles(side: int) -> None:
    assert np.allclose(eta(side), slow_eta(side), rtol=0, atol=1e-15)


def test_bumps_of_different_sizes_lie_where_their_windows_are() -> None:
    sides, corners = [0, 3, 5, 7, 3], [(0, 0), (5, 8), (3, 0), (1, 4), (2, 2)]
    offset = torch.arange(WIDTH) - torch.tensor(corners)[..., None]
    transposed = torch.tensor([False, True, False, True, False])[:, None]
    made = bump(profiles(sides, HEIGHT), torch.tensor(sides)[:, None], offset, transposed, HEIGHT, WIDTH)
    for each, side, (top, left), flip in zip(made.numpy(), sides, corners, transposed, strict=True):
        expected = np.zeros((HEIGHT, WIDTH))
        if side:
            window = slow_eta(side)
            expected[top : top + side, left : left + side] = window.T if flip else window
        assert np.allclose(each, expected, rtol=0, atol=1e-7)  # the profiles are float32


def test_l2_starts_from_a_grid_of_bumps(x: Tensor) -> None:
    rows, _ = begun(ATTACK, Alone(), l2("0.8"), x[:, :, :, :8])
    inner = (x > 0.2) & (x < 0.8)
    delta = (rows.best - rows.x).sign().abs()
    assert bool((delta[inner[:, :, :, :8]] == 1).all())  # tiles of one pixel cover 8x8
    images = torch.full((300, 1, 16, 16), 0.5, dtype=torch.float64)
    rows, _ = begun(ATTACK, Alone(), l2("0.8"), images)
    delta = rows.best - images
    assert torch.allclose(delta.flatten(1).norm(dim=1), rows.radius, rtol=0, atol=1e-12)
    assert not bool(delta[..., 15].any() | delta[..., 15, :].any())
    window = torch.from_numpy(slow_eta(3)) / 5
    tiles = delta[:, 0, :15, :15].unfold(1, 3, 3).unfold(2, 3, 3) / rows.radius.view(-1, 1, 1, 1, 1)
    found = [(tiles - each).abs().amax((3, 4)) < 1e-9 for each in (window, -window, window.T, -window.T)]
    assert bool(torch.stack(found).any(0).all())
    assert all(0.2 < float(each.double().mean()) < 0.3 for each in found)


def slow_move(x: Tensor, best: Tensor, radius: float, side: int, corners: Any, window: Any, sign: Any) -> Tensor:
    """Algorithm 3 of the paper for one image, with slices and loops over channels."""
    delta = best - x
    unused = max(radius**2 - float((delta**2).sum()), 0)
    first, second = (tuple(slice(start, start + side) for start in corner) for corner in corners)
    either = torch.zeros(delta.shape[1:], dtype=torch.bool)
    either[first] = either[second] = True
    new = delta.clone()
    for channel in range(len(delta)):
        freed = float((delta[channel][either] ** 2).sum())
        held = delta[channel][first]
        mixed = sign[channel] * window + (held / held.norm() if held.norm() > 0 else 0)
        new[channel][second] = 0
        new[channel][first] = mixed / mixed.norm() * math.sqrt(freed + unused / len(delta))
    return (x + new * (radius / new.norm())).clamp(0, 1)


def test_l2_proposals_are_those_of_the_paper(x: Tensor, given_noise: Callable[..., Any]) -> None:
    """Rows at different steps, so that their windows have different sides: 8, 7, 5 and 3 pixels."""
    model = Alone(lead=60)
    rows, key = begun(ATTACK, model, l2("0.8"), x)
    rows = after(ATTACK, model, l2("0.8"), rows, key, 60)
    rows = replace(
        rows, step=torch.tensor([1, 11, 12, 40, 52, 202] * 2), best=torch.where(key.view(-1, 1, 1, 1) < 9, rows.best, x)
    )
    chance = torch.rand(12, 8, generator=torch.Generator().manual_seed(2))
    chance[:2, 2:4] = chance[:2, :2]  # the same window twice
    chance[2, :4] = 1 - 2**-24
    model.seen.clear()
    ATTACK.step(model, l2("0.8"), rows, given_noise(chance))
    sides = set()
    for image, query in enumerate(model.seen.pop()):
        side = ATTACK.side(int(rows.step[image]) - 1, "l2", HEIGHT, WIDTH)
        sides.add(side)
        places = np.array([HEIGHT - side + 1, WIDTH - side + 1])
        corners = [np.floor(chance[image, i : i + 2].numpy() * places).astype(int) for i in (0, 2)]
        window = torch.from_numpy(slow_eta(side))
        window = window if chance[image, 7] < 0.5 else window.T
        sign = [1 if value < 0.5 else -1 for value in chance[image, 4:7]]
        expected = slow_move(x[image], rows.best[image], float(rows.radius[image]), side, corners, window, sign)
        assert torch.allclose(query, expected, rtol=0, atol=1e-7)  # the profiles of bumps are float32
    assert sides == {3, 5, 7, 8}


@BOTH
def test_a_row_alone_equals_the_row_in_company(threat: ThreatModel, x: Tensor) -> None:
    model = Alone(lead=38)
    rows, key = begun(ATTACK, model, threat, x)
    rows = after(ATTACK, model, threat, rows, key, 100)
    assert 0 < int(rows.fooled.sum()) < 12
    for image in (0, 3, 7, 11):
        one = slice(image, image + 1)
        start = first_rows(x[one], rows.y[one], rows.radius[one], rows.task[one])
        alone = ATTACK.begin(model, threat, start, KeyedNoise(7, key[one], start.task, 0))
        alone = after(ATTACK, model, threat, alone, key[one], 100)
        assert torch.equal(alone.best, rows.best[one])
        assert torch.equal(alone.memory["loss"], rows.memory["loss"][one])
        assert torch.equal(alone.fooled, rows.fooled[one])


@BOTH
def test_rows_at_different_steps_go_on_together_as_they_would_apart(threat: ThreatModel, x: Tensor) -> None:
    model = Alone(lead=60)
    rows, key = begun(ATTACK, model, threat, x)
    apart = [after(ATTACK, model, threat, rows, key, steps) for steps in (60, 90, 30)]
    early = after(ATTACK, model, threat, rows.take(slice(5)), key[:5], 30)
    late = after(ATTACK, model, threat, rows.take(slice(5, None)), key[5:], 60)
    assert len(set(apart[1].step.tolist() + early.step.tolist())) == 2
    joined = after(ATTACK, model, threat, early.join(late), key, 30)
    assert joined.step.tolist() == [60] * 5 + [90] * 7
    assert torch.equal(joined.best[:5], apart[0].best[:5])
    assert torch.equal(joined.best[5:], apart[1].best[5:])
    assert torch.equal(early.best, apart[2].best[:5])


@BOTH
def test_fooled_rows_stay_put(threat: ThreatModel, x: Tensor) -> None:
    model = Alone(lead=38)
    rows, key = begun(ATTACK, model, threat, x)
    rows = after(ATTACK, model, threat, rows, key, 40)
    fooled = rows.fooled
    assert 0 < int(fooled.sum()) < 12
    assert torch.equal(logit_margin(model(rows.best), rows.y) <= 0, fooled)
    later = after(ATTACK, model, threat, rows, key, 40)
    assert torch.equal(later.best[fooled], rows.best[fooled])
    assert not torch.equal(later.best[~fooled], rows.best[~fooled])
    assert bool(later.fooled[fooled].all())


def pair(model: nn.Sequential, lead: float) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """The model that knows classes 0 and 1, so far ahead in class 0 that nothing fools it; its weight and bias."""
    weight, bias = model[1].weight[:2].detach(), model[1].bias[:2].detach() + torch.tensor([lead, 0.0])
    return lambda x: x.flatten(1) @ weight.T + bias, weight, bias


@pytest.mark.parametrize("loss", ["margin", "cross-entropy"])
def test_linf_finds_the_exact_optimum_of_a_linear_model(loss: Any, linear: nn.Sequential, images: Any) -> None:
    x, y = images[0], torch.zeros(40, dtype=torch.int64)
    model, weight, bias = pair(linear, 9)
    noise = KeyedNoise(0, torch.arange(40))
    x_adv = Square(queries=500, loss=loss)(model, x, y, threat=linf("0.1"), noise=noise)
    exact = boxed_robust_margin(weight, bias, x, y, 0.1)
    assert torch.allclose(logit_margin(model(x_adv), y), exact, rtol=0, atol=1e-12)


def test_l2_approaches_the_optimum_of_a_linear_model(x: Tensor) -> None:
    """Nearly half of the largest change of the margin; one random direction among 264 would reach some 6 % of it."""
    inner, y = 0.4 + 0.2 * x, torch.zeros(12, dtype=torch.int64)  # at least 0.4 from the box
    model = Alone(lead=60)
    clean, noise = logit_margin(model(inner), y), KeyedNoise(0, torch.arange(12))
    exact = robust_margin(model.weight.flatten(1), model.lead, inner, y, "l2", 0.3)
    x_adv = Square(queries=1000)(model, inner, y, threat=l2("0.3"), noise=noise)
    share = (clean - logit_margin(model(x_adv), y)) / (clean - exact)
    assert float(share.max()) <= 1
    assert float(share.min()) > 0.4
    assert float(share.mean()) > 0.45


@BOTH
@pytest.mark.parametrize("restarts", [1, 3])
def test_queries_are_forward_passes_without_gradients(threat: ThreatModel, restarts: int, x: Tensor) -> None:
    """One of the clean images, then for each run its start, its proposals, and a last look at its result."""
    queries = []

    def model(images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        queries.append(len(images))
        coarse = np.round(images.numpy() * 12) / 12  # numpy: there is nothing to differentiate
        return torch.from_numpy(coarse.reshape(len(images), -1) @ weight)

    weight = np.random.default_rng(0).normal(size=(x[0].numel(), 4))
    with torch.no_grad():
        y = model(x).argmax(1)
    queries.clear()
    attack = Square(queries=50, restarts=restarts)
    x_adv = attack(model, x, y, threat=threat, noise=KeyedNoise(0, torch.arange(12)))
    assert queries == [12] * (1 + restarts * (attack.length() + 1))
    assert attack.length() == 51
    assert attack.tasks(10) == restarts
    with torch.no_grad():
        assert bool((logit_margin(model(x_adv), y) < logit_margin(model(x), y)).all())


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_radius_zero_leaves_the_original(threat: ThreatModel, dtype: torch.dtype, x: Tensor) -> None:
    images, key, y = x.to(dtype), torch.arange(12), torch.zeros(12, dtype=torch.int64)
    rows = first_rows(images, y, torch.zeros(12, dtype=dtype), y)
    model = Alone(lead=60)
    rows = after(ATTACK, model, threat, ATTACK.begin(model, threat, rows, KeyedNoise(0, key)), key, 30)
    assert all(torch.equal(query, images) for query in model.seen)
    assert torch.equal(rows.best, images)


def test_what_it_cannot_do_is_refused_with_a_mend(x: Tensor) -> None:
    for shape in ((12, 264), (12, 8, 33)):
        with pytest.raises(ValueError, match=r"\(N, C, H, W\).*let the model take images"):
            begun(ATTACK, Alone(), linf("0.1"), x.reshape(shape))
    with pytest.raises(ValueError, match="not l1: choose another attack"):
        begun(ATTACK, Alone(), l1("2"), x)


@pytest.mark.parametrize("fields", [{"queries": 0}, {"restarts": 0}, {"p": 0.0}, {"p": 1.5}, {"p": math.nan}])
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|above 0 and at most 1"):
        Square(**fields)
