"""Objectives against their formulas."""

import pytest
import torch
from torch import Tensor, nn

from classwise import registry
from classwise.attacks.losses import kl_from_clean, logit_margin, probability_margin
from classwise.objectives import AdversarialTraining, Natural, Objective, SampleInfo, Trades


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


# Objectives of other tests are registered, too, when those have run.
REGISTERED = [
    name for name in registry.names("objective") if registry.get("objective", name).__module__.startswith("classwise.")
]


def test_the_sweeps_below_cover_every_objective() -> None:
    assert REGISTERED == [
        "misclassification-aware",
        "natural",
        "pgd-at",
        "robust-distillation",
        "trades",
        "variance-regularised",
    ]


def known(objective: Objective, y: Tensor) -> SampleInfo:
    """All that an objective may ask for, and nothing else."""
    knobs = {name: torch.ones(len(y), dtype=torch.float64) for name in objective.heeds}
    teacher = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return SampleInfo(y, 4, knobs, teacher if objective.taught else None)


@pytest.mark.parametrize("name", REGISTERED)
def test_what_is_announced_is_what_is_computed(name: str, batch: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    objective = registry.get("objective", name)()
    outputs = objective(*batch, known(objective, batch[3]))
    assert tuple(outputs.terms) == objective.term_names
    there = {each for each in ("clean", "adversarial") if getattr(outputs, each) is not None}
    assert there == objective.computes
    assert all(term.shape == (9,) and bool(term.isfinite().all()) for term in outputs.terms.values())
    assert outputs.penalty is None or outputs.penalty.shape == ()


@pytest.mark.parametrize("name", REGISTERED)
def test_terms_are_those_of_each_sample_alone(name: str, batch: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    """Batches of one are fine, and nobody's loss depends on the company."""
    objective = registry.get("objective", name)()
    model, x, x_adv, y = batch
    info = known(objective, y)
    together = objective(*batch, info).terms
    for i in range(9):
        row = slice(i, i + 1)
        alone = objective(
            model,
            x[row],
            x_adv[row],
            y[row],
            SampleInfo(y[row], 4, {}, None if info.teacher is None else info.teacher[row]),
        ).terms
        for key, term in together.items():
            assert alone[key].shape == (1,)
            assert torch.allclose(alone[key], term[row], rtol=0, atol=1e-12)


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
    for name in REGISTERED:
        objective = registry.get("objective", name)()
        info = known(objective, y)
        knobs = {key: value.float() for key, value in info.knobs.items()}
        teacher = None if info.teacher is None else info.teacher.bfloat16()
        outputs = objective(model, x.bfloat16(), x_adv.bfloat16(), y, SampleInfo(y, 4, knobs, teacher))
        assert all(term.dtype == torch.float32 for term in outputs.terms.values())
        assert outputs.penalty is None or outputs.penalty.dtype == torch.float32
