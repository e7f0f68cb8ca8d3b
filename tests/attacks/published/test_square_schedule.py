"""The Square attack against AutoAttack's: schedule, bumps, every single query, and how many images are left."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import Tensor

from classwise.attacks.losses import logit_margin
from classwise.attacks.square import Square
from classwise.attacks.square_l2 import eta
from classwise.attacks.stepwise import first_rows, stepped
from classwise.randomness import GeneratorNoise
from classwise.threat import l2, linf

RADII = {"linf": 4 / 255, "l2": 0.25}
THREATS = {"linf": linf("4/255"), "l2": l2("0.25")}


@pytest.fixture(scope="module")
def reference() -> Any:
    """The reference implementation, which may also choose the last place along each side (see :class:`Square`)."""

    class EveryPlace(SquareAttack):
        def random_int(self, low: int = 0, high: int = 1, shape: Any = (1,)) -> Tensor:
            return super().random_int(low, high + 1, shape)

    return EveryPlace


@pytest.mark.parametrize(("rescaled", "name"), [(False, "square_p_standard"), (True, "square_p_rescaled")])
def test_shares_follow_the_published_schedule(rescaled: bool, name: str, shared: Path) -> None:
    given = json.loads((shared / "fixtures" / "methods" / "aa_schedules.json").read_text())
    assert given["square_iterations"][-1] == 4999
    attack = Square(queries=5000, rescale_schedule=rescaled)
    assert [attack.share(proposal) for proposal in given["square_iterations"]] == given[name]


@pytest.mark.parametrize("queries", [100, 1000, 5000, 10_000])
@pytest.mark.parametrize("rescaled", [False, True])
def test_shares_are_those_of_the_reference_at_every_proposal(queries: int, rescaled: bool, reference: Any) -> None:
    theirs = reference(None, n_queries=queries, p_init=0.8, resc_schedule=rescaled)
    ours = Square(queries=queries, rescale_schedule=rescaled)
    assert [ours.share(i) for i in range(queries)] == [theirs.p_selection(i) for i in range(queries)]


@pytest.mark.parametrize("side", [2, 3, 5, 6, 15, 29])
def test_bumps_are_those_of_the_reference(side: int, reference: Any) -> None:
    theirs = reference(None, norm="L2", device="cpu").eta(side)
    theirs = theirs if theirs[0, -1] > 0 else theirs.T
    assert torch.allclose(theirs, torch.from_numpy(eta(side)).float(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_query_is_that_of_the_reference(norm: Any, world: Any, reference: Any, given_noise: Any) -> None:
    """Its random numbers, turned into draws of ours, give the same images to the last query."""
    x, y, queries = world.x_eval[:12], world.y_eval[:12], 150
    net, lead = world.net(), 40.0 * torch.nn.functional.one_hot(world.y_eval[:12], 10)

    def model(images: Tensor) -> Tensor:
        return net(images) + lead  # nothing is fooled, so that the reference keeps all rows

    class Recorded(reference):
        def random_choice(self, shape: Any) -> Tensor:
            return self.note("sign", super().random_choice(shape))

        def random_int(self, *given: Any) -> Tensor:
            return self.note("place", super().random_int(*given))

        def eta(self, s: int) -> Tensor:
            made = super().eta(s)
            self.note("upright", made[0, -1] > 0)
            return made

        def note(self, what: str, value: Tensor) -> Tensor:
            self.notes.append((what, value))
            return value

    torch.manual_seed(0)
    theirs = Recorded(model, {"linf": "Linf", "l2": "L2"}[norm], queries, RADII[norm], resc_schedule=False)
    theirs.notes = []
    theirs.init_hyperparam(x)
    _, expected = theirs.attack_single_run(x.clone(), y)

    def below(positive: Tensor, *shape: int) -> Tensor:
        """A draw under one half where theirs was positive."""
        return torch.where(positive > 0, 0.25, 0.75).expand(*shape).clone()

    def taken(what: str) -> Tensor:
        kind, value = theirs.notes.pop(0)
        assert kind == what
        return value

    attack = Square(queries=queries)
    if norm == "linf":
        first = below(taken("sign"), 12, 3, 1, 16)
    else:
        first = torch.empty(12, 4, 5, 5, 1, 1)
        for tile in range(25):
            first[:, 0, tile // 5, tile % 5, 0, 0] = below(taken("upright"), 12)
            first[:, 1:, tile // 5, tile % 5, 0, 0] = below(taken("sign")[..., 0, 0], 12, 3)
    draws = [torch.zeros(12, 5 if norm == "linf" else 8)]  # for the start, which draws a window of no size
    for proposal in range(queries):
        places = 17 - attack.side(proposal, norm, 16, 16)
        corner = [(float(taken("place")) + 0.5) / places for _ in range(2 if norm == "linf" else 4)]
        turn = [below(taken("upright"), 12, 1)] if norm == "l2" else []
        sign = below(taken("sign").view(-1, 3), 12, 3)
        draws.append(torch.cat([torch.tensor(corner).expand(12, -1), sign, *turn], 1))
    assert theirs.notes == []
    threat, zero = THREATS[norm], torch.zeros_like(y)
    rows = first_rows(x, y, torch.full((12,), RADII[norm], dtype=x.dtype), zero)
    rows = attack.begin(model, threat, rows, given_noise(first))
    noise = given_noise(*draws)
    for _ in range(attack.length()):
        rows = stepped(attack.step(model, threat, rows, noise))
    assert noise.draws == []
    assert not bool(rows.fooled.any())
    # Their bumps are float32, and so are ours; l_inf is exact but for x + 2 r - r against x + r.
    assert torch.allclose(rows.best, expected, rtol=0, atol=1e-12 if norm == "linf" else 1e-6)
    with torch.no_grad():
        gained = logit_margin(model(x), y) - logit_margin(model(rows.best), y)
    assert float(gained.min()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_images_are_left_as_by_the_reference(norm: Any, world: Any, reference: Any) -> None:
    """Of 100 at 1000 queries, mean of three seeds; the number of one seed varies by 0.6 (standard deviation)."""
    net, x, y = world.net().float(), world.x_eval[:100].float(), world.y_eval[:100]

    def left(images: Tensor) -> int:
        with torch.no_grad():
            return int((net(images).argmax(1) == y).sum())

    ours, theirs = [], []
    for seed in range(3):
        names = {"norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": RADII[norm], "seed": seed}
        theirs.append(left(reference(net, n_queries=1000, resc_schedule=False, **names).perturb(x, y)))
        noise = GeneratorNoise(torch.Generator().manual_seed(seed))
        ours.append(left(Square(queries=1000)(net, x, y, threat=THREATS[norm], noise=noise)))
    assert abs(sum(ours) - sum(theirs)) / 3 <= 3 * 0.6 * (2 / 3) ** 0.5, (ours, theirs)
    assert max(ours) < left(x)
