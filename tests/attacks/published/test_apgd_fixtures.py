"""Auto-PGD against trajectories of the published implementation: losses, verdicts and best points."""

from typing import Any

import pytest
import torch

from classwise.attacks.apgd import APGD, check_iterations
from classwise.attacks.stepwise import Rows, first_rows, stepped
from classwise.threat import ThreatModel, l2, linf

World = Any
THREATS = {"linf": linf("8/255"), "l2": l2(0.5)}
SAMPLES = 30
CASES = {"linf": "aa_apgd_linf.npz", "l2": "aa_apgd_l2.npz"}


class Once:
    """Hands out one stored draw."""

    def __init__(self, draw: torch.Tensor) -> None:
        self.draw = draw

    def uniform(self, like: torch.Tensor) -> torch.Tensor:
        return self.draw

    normal = uniform


def ascended(world: World, threat: ThreatModel, attack: APGD) -> Rows:
    """All steps of one run from the stored start."""
    x, y, net = world.x_eval[:SAMPLES], world.y_eval[:SAMPLES], world.net()
    unit = world.unit_eval[:SAMPLES]
    noise = Once(unit if threat.norm == "linf" else 2 * unit - 1)
    radius = torch.full((SAMPLES,), float(threat.radius), dtype=x.dtype)
    rows = attack.begin(net, threat, first_rows(x, y, radius, torch.zeros_like(y)), noise)
    for _ in range(attack.length()):
        rows = stepped(attack.step(net, threat, rows, noise))
    return rows


@pytest.mark.parametrize("steps", ["10", "20", "50", "100"])
def test_progress_is_checked_when_the_published_code_does(steps: str, world: World) -> None:
    published = world.numbers("aa_schedules.json")["apgd_checkpoints"][steps]
    assert check_iterations(int(steps)) == published["check_iterations"]


@pytest.mark.parametrize("norm", THREATS)
def test_cross_entropy(norm: str, world: World) -> None:
    case = world.arrays(CASES[norm])
    rows = ascended(world, THREATS[norm], APGD())
    assert torch.equal(~rows.fooled, case["ce_acc"].bool())
    assert float((rows.memory["best_loss"] - case["ce_loss_best"]).abs().max()) <= 1e-5
    assert float((rows.memory["best_point"] - case["ce_x_best"]).abs().max()) <= 1e-5
    fooling = (rows.best - case["ce_x_best_adv"])[rows.fooled]
    assert len(fooling) > 10
    assert float(fooling.abs().max()) <= 1e-5


@pytest.mark.parametrize("norm", THREATS)
def test_difference_of_logits_ratio(norm: str, world: World) -> None:
    case = world.arrays(CASES[norm])
    rows = ascended(world, THREATS[norm], APGD(loss="dlr"))
    assert torch.equal(~rows.fooled, case["dlr_acc"].bool())
    # Beyond 1 the ratio nears its pole, where the first logit meets the third and rounding decides the path.
    tame = (case["dlr_loss_best"] <= 1 + 1e-9) & (rows.memory["best_loss"] <= 1 + 1e-9)
    assert int(tame.sum()) >= 25
    assert float((rows.memory["best_loss"] - case["dlr_loss_best"])[tame].abs().max()) <= 1e-5


@pytest.mark.parametrize("norm", THREATS)
def test_targeted_ratio(norm: str, world: World) -> None:
    case = world.arrays(CASES[norm])
    # The published ranking counts the label, so that a misclassified image may be driven towards it; audits attack
    # none of those, and ours never aims at the label.
    correct = world.net()(world.x_eval[:SAMPLES]).argmax(1) == world.y_eval[:SAMPLES]
    rows = ascended(world, THREATS[norm], APGD(loss="targeted-dlr"))
    assert int(correct.sum()) >= 20
    assert torch.equal(rows.memory["target"][correct], case["tgt_target"][correct])
    assert torch.equal(~rows.fooled[correct], case["tgt_acc"][correct].bool())
    assert float((rows.memory["best_loss"] - case["tgt_loss_best"])[correct].abs().max()) <= 1e-5
    assert float((rows.memory["best_point"] - case["tgt_x_best"])[correct].abs().max()) <= 1e-5


def test_l1_breaks_what_the_live_reference_breaks(world: World) -> None:
    """There is no stored trajectory in l_1: the reference itself is run, whose random starts are others."""
    import logging

    from pyautoattack.autopgd_base import APGDAttack

    from classwise.randomness import KeyedNoise
    from classwise.threat import l1

    net, x, y = world.net().float(), world.x_eval.float(), world.y_eval
    reference = APGDAttack(
        net, n_iter=100, norm="L1", eps=3.0, seed=0, loss="ce", device="cpu", logger=logging.getLogger("reference")
    )
    with torch.no_grad():
        correct = net(x).argmax(1) == y
        theirs = net(reference.perturb(x, y)).argmax(1) == y
        ours_adv = APGD()(net, x, y, threat=l1("3"), noise=KeyedNoise(0, torch.arange(len(y))))
        ours = net(ours_adv).argmax(1) == y
    assert int((correct & ~theirs).sum()) >= 30
    assert abs(int((correct & theirs).sum()) - int((correct & ours).sum())) <= 4
    assert int((theirs != ours)[correct].sum()) <= 6
