"""The variance penalty against its formula, and what it hands on of its base."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from classwise import ClassPolicy, TrainConfig
from classwise.attacks import Inner
from classwise.attacks.base import Classifier
from classwise.configuration import config, from_plain, to_plain
from classwise.objectives import (
    AdversarialTraining,
    Mart,
    Natural,
    Objective,
    Outputs,
    SampleInfo,
    Trades,
    VarianceRegularised,
)
from classwise.objectives.variance import group_variance
from classwise.policies import CalibratedRadius, Fixed


@config
class Pupil(Objective):
    """Heeds a knob, learns from a teacher, has a penalty of its own."""

    heeds = frozenset({"temperature"})
    taught = True
    inner = Inner(loss="kl", start="gauss")

    def reference(self, info: SampleInfo) -> Tensor | None:
        return info.teacher

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: Any = None) -> Outputs:
        logits = model(x_adv)
        return Outputs({"label": logits.square().mean(1)}, adversarial=logits, penalty=torch.tensor(0.25))


@pytest.fixture
def batch() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 6)).double()
    x, x_adv = torch.rand(2, 15, 3, 2, 2, dtype=torch.float64)
    y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 3, 3, 5, 5, 5, 5])  # 2 and 4 are absent
    return model, x, x_adv, y


BASES = [AdversarialTraining(), Trades(beta=3), Mart(beta=2), VarianceRegularised(base=Trades(), alpha=0.3)]


@pytest.mark.parametrize("base", BASES, ids=lambda each: type(each).__name__)
def test_without_weight_it_is_its_base(base: Objective, batch: Any) -> None:
    model = batch[0]
    losses, gradients = [], []
    for objective in (base, VarianceRegularised(base=base, alpha=0)):
        model.zero_grad()
        outputs = objective(*batch)
        terms = {name: term.detach() for name, term in outputs.terms.items()}
        loss = torch.stack([*outputs.terms.values()]).sum() + (0 if outputs.penalty is None else outputs.penalty)
        loss.backward()
        losses.append((terms, loss.item()))
        gradients.append(model[1].weight.grad.clone())
    assert losses[0][0].keys() == losses[1][0].keys()
    assert all(torch.equal(term, losses[1][0][name]) for name, term in losses[0][0].items())
    assert losses[0][1] == losses[1][1]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("base", BASES[:3], ids=lambda each: type(each).__name__)
def test_the_penalty_is_the_variance_of_class_means_under_attack(base: Objective, batch: Any) -> None:
    model, _, x_adv, y = batch
    losses = F.cross_entropy(model(x_adv), y, reduction="none").detach()
    means = torch.stack([losses[y == c].mean() for c in (0, 1, 3, 5)])
    penalty = VarianceRegularised(base=base, alpha=0.7)(*batch).penalty
    assert penalty.item() == pytest.approx(0.7 * means.var().item(), abs=1e-14)
    padded = torch.cat([means, torch.zeros(96, dtype=torch.float64)])
    penalty = VarianceRegularised(base=base, alpha=0.7, slots=100)(*batch).penalty
    assert penalty.item() == pytest.approx(0.7 * padded.var().item(), abs=1e-14)
    assert abs(padded.var() - means.var()) > 0.01


def test_groups_need_not_be_labels(batch: Any) -> None:
    model, _, x_adv, y = batch
    group = torch.arange(15) % 3
    losses = F.cross_entropy(model(x_adv), y, reduction="none").detach()
    means = torch.stack([losses[group == g].mean() for g in range(3)])
    outputs = VarianceRegularised(alpha=1.0)(*batch, SampleInfo(group=group, groups=3))
    assert outputs.penalty.item() == pytest.approx(means.var().item(), abs=1e-14)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 6)), min_size=1, max_size=30),
    st.sampled_from([0, 7, 100]),
    st.permutations(range(7)),
)
def test_variance_of_any_batch(pairs: list[tuple[float, int]], slots: int, order: list[int]) -> None:
    """Against torch.var; nobody is privileged; one group alone has no variance."""
    losses = torch.tensor([loss for loss, _ in pairs], dtype=torch.float64)
    group = torch.tensor([g for _, g in pairs])
    means = torch.stack([losses[group == g].mean() for g in sorted(set(group.tolist()))])
    values = torch.cat([means, torch.zeros(max(slots - len(means), 0), dtype=torch.float64)])
    expected = values.var().item() if len(values) > 1 else 0.0
    found = group_variance(losses, group, 7, slots)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    renamed = torch.tensor(order)[group]
    assert group_variance(losses, renamed, 7, slots).item() == pytest.approx(found.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("slots", [0, 100])
def test_each_sample_is_pushed_by_the_distance_of_its_group_from_the_mean(slots: int) -> None:
    """d/dl_i = 2 (m_g - m) / ((P - 1) n_g): samples of a good group are pushed up."""
    generator = torch.Generator().manual_seed(1)
    losses = torch.rand(15, generator=generator, dtype=torch.float64, requires_grad=True)
    group = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 3, 3, 5, 5, 5, 5])
    (found,) = torch.autograd.grad(group_variance(losses, group, 6, slots), losses)
    values = losses.detach()
    means = torch.stack([values[group == g].mean() if (group == g).any() else values.new_zeros(()) for g in range(6)])
    size = slots or 4
    centre = means.sum() / size
    count = torch.bincount(group)
    expected = 2 * (means - centre)[group] / ((size - 1) * count[group])
    assert torch.allclose(found, expected, rtol=0, atol=1e-14)
    assert slots or (bool((found > 0).any()) and bool((found < 0).any()))


def test_a_batch_of_one_group_or_one_sample_is_not_penalised(batch: Any) -> None:
    model, x, x_adv, _ = batch
    for rows in (slice(None), slice(0, 1)):
        model.zero_grad()
        y = torch.full((len(x[rows]),), 2)
        outputs = VarianceRegularised()(model, x[rows], x_adv[rows], y)
        assert outputs.penalty.item() == 0
        outputs.penalty.backward()
        assert not bool(model[1].weight.grad.any())


def test_what_the_base_asks_for_is_handed_on_but_for_the_inner_problem(batch: Any) -> None:
    objective = VarianceRegularised(base=Pupil(), alpha=0.1)
    assert objective.heeds == {"temperature"}
    assert objective.taught
    assert objective.attacked
    assert objective.inner == Inner(loss="cross-entropy", start="uniform")
    teacher = torch.rand(15, 6)
    assert objective.reference(SampleInfo(teacher=teacher)) is teacher
    assert objective(*batch).penalty.item() == pytest.approx(
        0.25 + VarianceRegularised(alpha=0.1)(*batch).penalty.item(), abs=1e-12
    )
    plain = VarianceRegularised()
    assert plain.heeds == frozenset()
    assert not plain.taught
    assert plain.reference(SampleInfo()) is None
    for base in (AdversarialTraining(), Trades()):
        assert VarianceRegularised(base=base).term_names == base.term_names
        assert VarianceRegularised(base=base).computes == base.computes


def test_it_fits_what_its_base_fits() -> None:
    robust: ClassPolicy = Fixed(robust=(1.0, 2.0))
    TrainConfig(objective=VarianceRegularised(base=Trades()), policy=robust)
    TrainConfig(objective=VarianceRegularised(), policy=CalibratedRadius())
    with pytest.raises(ValueError, match="neither objective 'variance-regularised'"):
        TrainConfig(objective=VarianceRegularised(), policy=robust)
    with pytest.raises(ValueError, match="learns from a teacher"):
        TrainConfig(objective=VarianceRegularised(base=Pupil()))


def test_its_plain_form_is_read_back() -> None:
    objective = VarianceRegularised(base=Trades(beta=4), alpha=0.2, slots=100)
    plain = to_plain(objective)
    assert plain["base"]["name"] == "trades"
    assert from_plain(Objective, plain) == objective
    assert from_plain(Objective, "var") == VarianceRegularised()


def test_what_makes_no_sense_is_refused(batch: Any) -> None:
    with pytest.raises(ValueError, match=r"alpha -0.1 must be at least 0"):
        VarianceRegularised(alpha=-0.1)
    for slots in (-1, 1):
        with pytest.raises(ValueError, match=r"must be at least 2 \(100"):
            VarianceRegularised(slots=slots)
    with pytest.raises(ValueError, match="base 'natural' runs no perturbed images"):
        VarianceRegularised(base=Natural())
    with pytest.raises(ValueError, match="slots 5 do not hold 6 groups"):
        VarianceRegularised(slots=5)(*batch)
    VarianceRegularised(slots=6)(*batch)
