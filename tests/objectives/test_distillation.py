"""Distillation from a robust teacher (ABSLD's loss) against its formula, written out."""

import math

import pytest
import torch
from torch import Tensor, nn

from classwise import TrainConfig, linf
from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.objectives import Distillation, SampleInfo
from classwise.policies import CalibratedTemperature, Fixed
from classwise.randomness import GeneratorNoise

Batch = tuple[nn.Module, Tensor, Tensor, Tensor]
CLASSES, SAMPLES = 4, 9


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, CLASSES)).double()
    x, x_adv = torch.rand(2, SAMPLES, 3, 2, 2, dtype=torch.float64)
    return model, x, x_adv, torch.arange(SAMPLES) % CLASSES


def told(classes: int = CLASSES, **knobs: Tensor) -> SampleInfo:
    generator = torch.Generator().manual_seed(8)
    logits = 3 * torch.randn(SAMPLES, classes, generator=generator, dtype=torch.float64)
    return SampleInfo(teacher=logits, knobs=knobs)


def softmax(logits: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    exponentials = (logits / temperature).exp()
    return exponentials / exponentials.sum(1, keepdim=True)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum(1)


@pytest.mark.parametrize("share", [0.0, 0.3, 5 / 6, 1.0])
def test_terms(share: float, batch: Batch) -> None:
    """Each branch with its own temperature, which is the field times the knob; over K, as a mean over B K entries."""
    model, x, x_adv, y = batch
    natural, robust = torch.rand(2, SAMPLES, dtype=torch.float64) + 0.5
    info = told(temperature=natural, robust_temperature=robust)
    assert info.teacher is not None
    outputs = Distillation(robust_share=share, temperature=1.5)(model, x, x_adv, y, info)
    clean = divergence(softmax(info.teacher, 1.5 * natural[:, None]), softmax(model(x)))
    adversarial = divergence(softmax(info.teacher, 1.5 * robust[:, None]), softmax(model(x_adv)))
    assert torch.allclose(outputs.terms["label"], (1 - share) * clean / CLASSES, rtol=0, atol=1e-12)
    assert torch.allclose(outputs.terms["robust"], share * adversarial / CLASSES, rtol=0, atol=1e-12)
    assert outputs.clean is not None
    assert outputs.adversarial is not None
    assert torch.equal(outputs.clean, model(x))
    assert torch.equal(outputs.adversarial, model(x_adv))


def test_the_published_mean_over_all_entries(batch: Batch) -> None:
    """5/6 and 1/6 of means over the B K entries of p (log p - log q), both labels of the teacher at temperature 1."""
    model, x, x_adv, y = batch
    info = told()
    assert info.teacher is not None
    p = softmax(info.teacher)
    entries = [p * (p.log() - softmax(model(each)).log()) for each in (x, x_adv)]
    terms = Distillation()(model, x, x_adv, y, info).terms
    loss = terms["label"].mean() + terms["robust"].mean()
    assert torch.allclose(loss, entries[0].mean() / 6 + 5 * entries[1].mean() / 6, rtol=0, atol=1e-12)


def test_it_does_not_look_at_labels(batch: Batch) -> None:
    model, x, x_adv, y = batch
    one, other = (Distillation()(model, x, x_adv, labels, told()).terms for labels in (y, y.flip(0)))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_student_that_agrees_has_no_loss(batch: Batch) -> None:
    model, x, _, y = batch
    info = SampleInfo(teacher=model(x).detach())
    terms = Distillation()(model, x, x, y, info).terms
    assert all(float(term.detach().abs().max()) < 1e-12 for term in terms.values())


def test_temperature_softens_the_label(batch: Batch) -> None:
    """At a huge temperature the label is uniform; at a tiny one it is the teacher's prediction, and the loss its cross-entropy."""
    model, x, x_adv, y = batch
    info = told()
    assert info.teacher is not None
    soft, hard = (
        Distillation(temperature=t, robust_share=0)(model, x, x_adv, y, info).terms["label"] for t in (1e9, 1e-3)
    )
    log_q = model(x).log_softmax(1)
    assert torch.allclose(soft, (-math.log(CLASSES) - log_q.mean(1)) / CLASSES, rtol=0, atol=1e-6)
    predicted = info.teacher.argmax(1, keepdim=True)
    assert torch.allclose(hard, -log_q.gather(1, predicted)[:, 0] / CLASSES, rtol=0, atol=1e-9)


def test_the_matched_adversary_moves_away_from_the_teacher(batch: Batch) -> None:
    """One step from x follows the sign of the gradient of KL(p' || q), p' at the perturbed branch's temperature."""
    model, x, _, y = batch
    temperature = torch.rand(SAMPLES, dtype=torch.float64) + 0.5
    info = told(robust_temperature=temperature, temperature=torch.full((SAMPLES,), 9.0))
    objective = Distillation()
    assert (objective.inner.loss, objective.inner.start) == ("kl", "gauss")
    assert info.teacher is not None
    assert torch.equal(objective.reference(info), info.teacher / temperature[:, None])

    x_adv = PGD(steps=1, step_size="0.01", start="none")(
        model,
        x,
        y,
        threat=linf("0.1"),
        noise=GeneratorNoise(torch.Generator()),
        inner=replace(objective.inner, reference=objective.reference(info)),
    )
    point = x.clone().requires_grad_()
    loss = divergence(softmax(info.teacher, temperature[:, None]), softmax(model(point))).sum()
    gradient = torch.autograd.grad(loss, point)[0]
    assert float(gradient.abs().min()) > 1e-6
    assert torch.allclose(x_adv, (x + 0.01 * gradient.sign()).clamp(0, 1), rtol=0, atol=1e-12)


def test_no_gradient_reaches_the_teacher_and_all_reaches_the_student(batch: Batch) -> None:
    model, x, x_adv, y = batch
    info = told()
    terms = Distillation()(model, x, x_adv, y, info).terms
    torch.stack([term.sum() for term in terms.values()]).sum().backward()
    assert info.teacher is not None
    assert info.teacher.grad is None
    assert all(float(weight.grad.abs().max()) > 0 for weight in model.parameters())


def test_half_precision_logits_of_both_are_widened(batch: Batch) -> None:
    model, x, x_adv, y = batch
    info = told(temperature=torch.ones(SAMPLES), robust_temperature=torch.ones(SAMPLES))
    assert info.teacher is not None
    half = SampleInfo(teacher=info.teacher.bfloat16(), knobs=info.knobs)
    outputs = Distillation()(model.bfloat16(), x.bfloat16(), x_adv.bfloat16(), y, half)
    assert all(term.dtype == torch.float32 and bool(term.isfinite().all()) for term in outputs.terms.values())


def test_extreme_logits_stay_finite(batch: Batch) -> None:
    model, x, x_adv, y = batch
    logits = torch.zeros(SAMPLES, CLASSES, dtype=torch.float64)
    logits[:, 0] = 1e4
    terms = Distillation()(model, x, x_adv, y, SampleInfo(teacher=logits)).terms
    assert all(bool(term.isfinite().all()) for term in terms.values())


@pytest.mark.parametrize("classes", [1, 3, 7])
def test_a_teacher_of_other_classes_is_refused(classes: int, batch: Batch) -> None:
    """One class would broadcast and train on nonsense."""
    with pytest.raises(
        ValueError, match=f"the teacher tells {classes} classes apart, the network 4: name a teacher that was trained"
    ):
        Distillation()(*batch, told(classes))


def test_no_teacher_is_refused(batch: Batch) -> None:
    for call in (lambda: Distillation()(*batch), lambda: Distillation().reference(SampleInfo())):
        with pytest.raises(ValueError, match="learns from a teacher: name its checkpoint as teacher of the run"):
            call()


def test_wrong_fields_are_refused() -> None:
    for fields, message in (
        ({"robust_share": 1.1}, r"robust_share 1\.1 must lie in \[0, 1\]"),
        ({"robust_share": math.nan}, "robust_share nan"),
        ({"temperature": 0.0}, r"temperature 0\.0 must be a finite number above 0"),
        ({"temperature": math.inf}, "temperature inf"),
    ):
        with pytest.raises(ValueError, match=message):
            Distillation(**fields)


def test_it_heeds_both_temperatures() -> None:
    for policy in (CalibratedTemperature(), Fixed(temperature=(1.0, 2.0)), Fixed(robust_temperature=(1.0, 2.0))):
        made = TrainConfig(objective=Distillation(), policy=policy, teacher="somewhere")
        assert made.policy == policy
