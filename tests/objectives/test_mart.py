"""MART against its formula, written out sample by sample."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise.attacks import Inner
from classwise.configuration import from_plain, to_plain
from classwise.objectives import Mart, Objective


def problem(classes: int, samples: int, scale: float = 3.0) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    torch.manual_seed(classes + samples)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()
    with torch.no_grad():
        model[1].weight.mul_(scale)
    x, x_adv = torch.rand(2, samples, 3, 2, 2, dtype=torch.float64)
    return model, x, x_adv, torch.arange(samples) % classes


def by_hand(clean: list[float], perturbed: list[float], label: int, beta: float) -> tuple[float, float]:
    """Both terms of one sample from its probabilities."""
    wrong = [p for k, p in enumerate(perturbed) if k != label]
    boosted = -math.log(perturbed[label]) - math.log(1.0001 - max(wrong) + 1e-12)
    divergence = sum(p * (math.log(p) - math.log(q + 1e-12)) for p, q in zip(clean, perturbed, strict=True))
    return boosted, beta * divergence * (1.0000001 - clean[label])


@pytest.mark.parametrize("classes", [2, 3, 10, 200])
@pytest.mark.parametrize("samples", [1, 12])
def test_terms_are_those_of_the_paper(classes: int, samples: int) -> None:
    model, x, x_adv, y = problem(classes, samples)
    outputs = Mart(beta=2.5)(model, x, x_adv, y)
    clean, perturbed = model(x).softmax(1).tolist(), model(x_adv).softmax(1).tolist()
    for i in range(samples):
        label, robust = by_hand(clean[i], perturbed[i], int(y[i]), 2.5)
        assert outputs.terms["label"][i].item() == pytest.approx(label, abs=1e-12)
        assert outputs.terms["robust"][i].item() == pytest.approx(robust, abs=1e-12)
    assert outputs.terms["label"].shape == outputs.terms["robust"].shape == (samples,)
    assert outputs.penalty is None


def test_the_strongest_wrong_class_is_meant_also_where_it_is_the_prediction() -> None:
    """Of the probabilities .2, .5, .3 the strongest rival of class 1 is class 2, that of the others is class 1."""
    logits = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).log().expand(3, 3)
    terms = Mart()(lambda x: x, logits, logits, torch.arange(3)).terms["label"]
    expected = [-math.log(p) - math.log(1.0001 - rival) for p, rival in ((0.2, 0.5), (0.5, 0.3), (0.3, 0.5))]
    assert terms.tolist() == pytest.approx(expected, abs=1e-11)


CONSTANTS = [("label", ""), ("label", "rival"), ("robust", ""), ("robust", "clean"), ("robust", "doubt")]


@pytest.mark.parametrize(("term", "constant"), CONSTANTS)
def test_the_gradient_flows_through_everything(term: str, constant: str) -> None:
    """It is that of the formula, and not that of a formula of which some part is held constant."""
    model, x, x_adv, y = problem(4, 7)

    def value(weight: Tensor) -> Tensor:
        clean, perturbed = (image.flatten(1) @ weight.T + model[1].bias.detach() for image in (x, x_adv))
        p, q = clean.softmax(1), perturbed.softmax(1)
        rivals = q.scatter(1, y[:, None], 0).amax(1)
        doubt = 1.0000001 - p.gather(1, y[:, None])[:, 0]
        p, rivals, doubt = (
            part.detach() if name == constant else part
            for name, part in (("clean", p), ("rival", rivals), ("doubt", doubt))
        )
        if term == "label":
            return (-q.gather(1, y[:, None])[:, 0].log() - (1.0001 - rivals + 1e-12).log()).sum()
        return (6 * (p * (p.log() - (q + 1e-12).log())).sum(1) * doubt).sum()

    Mart()(model, x, x_adv, y).terms[term].sum().backward()
    weight = model[1].weight.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(value(weight), weight)
    same = bool(torch.allclose(expected, model[1].weight.grad, rtol=0, atol=1e-10))
    assert same == (not constant)
    if not constant:
        assert torch.autograd.gradcheck(value, weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_saturated_predictions_leave_values_and_gradients_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0], [-200.0, 200.0, 0.0]], dtype=dtype)
    for clean in (logits, -logits):
        for y in range(3):
            given = (clean.clone().requires_grad_(), logits.clone().requires_grad_())
            outputs = Mart()(lambda x: x, *given, torch.full((3,), y))
            total = torch.stack([*outputs.terms.values()])
            assert bool(total.isfinite().all())
            for gradient in torch.autograd.grad(total.sum(), given):
                assert bool(gradient.isfinite().all())


def test_what_it_asks_for() -> None:
    objective: Objective = Mart()
    assert objective.inner == Inner(loss="cross-entropy", start="gauss")
    assert objective.computes == {"clean", "adversarial"}
    assert objective.term_names == ("label", "robust")
    assert not objective.taught
    assert not bool(Mart(beta=0)(*problem(3, 5)).terms["robust"].any())
    assert from_plain(Objective, {"name": "mart", "beta": 5.0}) == Mart(beta=5)
    assert to_plain(Mart())["name"] == "misclassification-aware"


@pytest.mark.parametrize("beta", [-1.0, float("nan")])
def test_a_weight_that_makes_no_sense_is_refused(beta: Any) -> None:
    with pytest.raises(ValueError, match=r"beta .* must be at least 0"):
        Mart(beta=beta)
