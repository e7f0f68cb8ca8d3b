"""Objectives against their formulas."""

import pytest
import torch
from torch import Tensor, nn

from classwise import registry
from classwise.attacks.losses import kl_from_clean, logit_margin, probability_margin
from classwise.objectives import AdversarialTraining, Natural, Objective, Trades


@pytest.fixture
def batch() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    x, x_adv = torch.rand(2, 9, 3, 2, 2, dtype=torch.float64)
    return model, x, x_adv, torch.arange(9) % 4


def by_hand(model: nn.Module, x: Tensor) -> Tensor:
    logits = model(x)
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def test_terms(batch: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    model, x, x_adv, y = batch
    p, p_adv = by_hand(model, x), by_hand(model, x_adv)
    rows = torch.arange(9)
    clean, robust = -p[rows, y].log(), -p_adv[rows, y].log()
    divergence = (p * (p.log() - p_adv.log())).sum(1)
    expected = {
        "natural": {"label": clean},
        "pgd-at": {"label": robust},
        "trades": {"label": clean, "robust": 2.5 * divergence},
    }
    objectives: list[Objective] = [Natural(), AdversarialTraining(), Trades(beta=2.5)]
    for objective in objectives:
        outputs = objective(model, x, x_adv, y)
        assert outputs.terms.keys() == expected[objective.registered_name].keys()
        for name, term in outputs.terms.items():
            assert torch.allclose(term, expected[objective.registered_name][name], rtol=0, atol=1e-12)
    assert registry.names("objective") == sorted(expected)


def test_what_is_announced_is_what_is_computed(batch: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    for name in registry.names("objective"):
        objective = registry.get("objective", name)()
        outputs = objective(*batch)
        assert tuple(outputs.terms) == objective.term_names
        there = {each for each in ("clean", "adversarial") if getattr(outputs, each) is not None}
        assert there == objective.computes
        assert all(term.shape == (9,) and bool(term.isfinite().all()) for term in outputs.terms.values())


def test_the_gradient_of_trades_flows_through_both_predictions(
    batch: tuple[nn.Module, Tensor, Tensor, Tensor],
) -> None:
    """A detached clean branch would give another gradient."""
    model, x, x_adv, y = batch
    Trades(beta=1)(model, x, x_adv, y).terms["robust"].sum().backward()
    found = model[1].weight.grad.clone()
    for detached, same in ((False, True), (True, False)):
        model.zero_grad()
        clean = model(x).detach() if detached else model(x)
        p, p_adv = clean.softmax(1), model(x_adv).softmax(1)
        (p * (p.log() - p_adv.log())).sum().backward()
        assert torch.allclose(model[1].weight.grad, found, atol=1e-12) == same


def test_trades_with_beta_zero_is_natural_training(batch: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    outputs = Trades(beta=0)(*batch)
    assert torch.equal(outputs.terms["label"], Natural()(*batch).terms["label"])
    assert not bool(outputs.terms["robust"].any())
    with pytest.raises(ValueError, match="beta -1"):
        Trades(beta=-1)


def test_losses_stay_finite_where_probabilities_vanish() -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0]])
    other = torch.tensor([[-200.0, 200.0, 0.0], [0.0, 0.0, 0.0]])
    assert kl_from_clean(other, logits).tolist() == pytest.approx([400, 0])
    assert logit_margin(logits, torch.tensor([1, 0])).tolist() == [-400, 0]
    assert probability_margin(logits, torch.tensor([1, 0])).tolist() == pytest.approx([1, 0])


def test_half_precision_logits_are_widened(batch: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    model, x, x_adv, y = batch
    model = model.bfloat16()
    for objective in (Natural(), AdversarialTraining(), Trades()):
        outputs = objective(model, x.bfloat16(), x_adv.bfloat16(), y)
        assert all(term.dtype == torch.float32 for term in outputs.terms.values())
