"""Attack losses against published values, and our PGD in float32 against published perturbed images.

The same images in float64, to the last digits, are checked in ``tests/training/published/test_attacks.py``; the world in
which they were made is read by the code beside that file.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from classwise.attacks import PGD, attack_list
from classwise.attacks.losses import attack_loss, dlr, logit_margin, targeted_dlr, targeted_loss
from classwise.threat import ThreatModel, l2, linf

LARGEST_SHARE = 0.005
"""Share of values of an image set that a sign flip in float32 may change, as stated with the reference data."""


@pytest.fixture(scope="module")
def published() -> ModuleType:
    path = Path(__file__).parents[2] / "training" / "published" / "conftest.py"
    spec = importlib.util.spec_from_file_location("published_world", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(published: ModuleType, shared: Path) -> Any:
    return published.World(shared / "fixtures" / "methods")


@pytest.fixture
def given_noise(published: ModuleType) -> Callable[..., Any]:
    def make(*draws: Tensor) -> Any:
        return published.GivenNoise(*(draw.float() for draw in draws))

    return make


def test_dlr(world: Any) -> None:
    case = world.arrays("aa_losses.npz")
    found = dlr(case["logits"], case["labels"])
    assert float((found - case["dlr"]).abs().max()) <= 1e-9
    assert 0 < int((found > 0).sum()) < 40  # right and wrong predictions are both there


@pytest.mark.parametrize("rank", [2, 3, 10])
def test_targeted_dlr(rank: int, world: Any) -> None:
    case = world.arrays("aa_losses.npz")
    logits, y, target = case["logits"], case["labels"], case[f"target_rank{rank}"]
    assert torch.equal(logits.argsort(1)[:, -rank], target)
    expected = case[f"dlr_targeted_rank{rank}"]
    assert float((targeted_dlr(logits, y, target) - expected).abs().max()) <= 1e-9
    assert float((targeted_loss("dlr", logits.float(), y, target) - expected).abs().max()) <= 1e-5


def test_mean_losses_of_the_evaluation_set(world: Any) -> None:
    case = world.arrays("eval_pgd20_cw20.npz")
    for name, key in (("margin", "cw_loss_mean"), ("dlr", "dlr_mean")):
        value = attack_loss(name, case["logits"], world.y_eval, None).mean()
        assert float(value) == pytest.approx(float(case[key]), abs=1e-9), name


@pytest.mark.parametrize(
    ("name", "threat", "restarts"),
    [
        ("pgd_linf_eval.npz", linf, 1),
        ("pgd_linf_eval_2restarts.npz", linf, 2),
        ("pgd_l2_rice128.npz", l2, 1),
        ("pgd_l2_frl_eval.npz", l2, 1),
    ],
)
def test_pgd_in_float32(
    name: str, threat: Callable[[float], ThreatModel], restarts: int, world: Any, given_noise: Callable[..., Any]
) -> None:
    case = world.arrays(name)
    eps, step, steps = float(case["eps"]), repr(float(case["step"])), int(case["steps"])
    draws = (world.normal, case["radius_unit"]) if threat is l2 else (world.unit, 1 - world.unit)
    attack = PGD(steps=steps, step_size=step, restarts=restarts, loss="cross-entropy", start="uniform")
    net, x = world.net().float(), world.x.float()
    x_adv = attack(net, x, world.y, threat=threat(eps), noise=given_noise(*draws))
    assert x_adv.dtype == torch.float32
    apart = (x_adv.double() - case["x_adv"]).abs()
    assert float((apart > 1e-4).double().mean()) <= LARGEST_SHARE
    loss = attack_loss("cross-entropy", net(x_adv), world.y, None).mean().detach()
    assert float(loss) == pytest.approx(float(case["loss"]), abs=1e-3)


@pytest.mark.parametrize(("suite", "prefix"), [("pgd-20", "pgd20"), ("cw-20", "cw20")])
def test_evaluation_attacks_in_float32(suite: str, prefix: str, world: Any, given_noise: Callable[..., Any]) -> None:
    case = world.arrays("eval_pgd20_cw20.npz")
    (attack,) = attack_list(suite)
    net, x = world.net().float(), world.x_eval.float()
    x_adv = attack(net, x, world.y_eval, threat=linf("8/255"), noise=given_noise(world.unit_eval))
    apart = (x_adv[:40].double() - case[f"{prefix}_x_adv_first40"]).abs()
    assert float((apart > 1e-4).double().mean()) <= LARGEST_SHARE
    fooled = logit_margin(net(x_adv), world.y_eval) <= 0
    assert torch.equal(fooled, case[f"{prefix}_pred"] != world.y_eval)
