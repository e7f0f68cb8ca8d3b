"""Search in bf16, verdicts in fp32: no claim of the copy counts before the model itself confirms it."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise import ClassData
from classwise.attacks import attack_list
from classwise.evaluation import Evaluator, pool
from classwise.evaluation.journal import NoJournal
from classwise.models import fast_copy as fast_copies
from classwise.models.fast_copy import fast_copy
from classwise.progress import Silent
from classwise.report.formats import formatted
from classwise.training import runtime

BF16 = "a bf16 copy with BatchNorm folded"
ATTACKS = ["pgd-6", "apgd-ce-6", "apgd-t-4", "fab-t-4", "square-15"]


class Faint(nn.Module):
    """Logits 8 plus a hundredth of each class's pixel: in bf16, whose numbers near 8 are 1/16 apart, all are 8."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 5)
        with torch.no_grad():
            self.linear.weight.copy_(0.01 * torch.eye(5, 16))
            self.linear.bias.fill_(8.0)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Blind(nn.Module):
    """The sum of all pixels plus 0.3 % of each class's: in bf16, where 1.003 is 1, no class differs from another."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 5, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(1 + 0.003 * torch.eye(5, 16))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Noted(NoJournal):
    """Takes down which runs are finished, with what is predicted then."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.predictions: list[int] = []

    def attack(self, threat: int, attack: int, rows: Tensor, tasks: Tensor, prediction: Tensor, margin: Tensor) -> None:
        self.runs += zip(rows.tolist(), tasks.tolist(), strict=True)
        self.predictions += prediction.tolist()


@pytest.fixture
def any_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bf16 copy is searched on however far off it is: no honest copy errs as often as a small test needs."""
    monkeypatch.setattr(fast_copies, "ROUNDING", 1e9)


@pytest.fixture(scope="module")
def faint() -> ClassData:
    """Forty images whose class's pixel is brighter than all others, by 0.4 or by 0.1."""
    labels = torch.arange(40) % 5
    images = torch.full((40, 1, 4, 4), 0.4)
    images[torch.arange(40), 0, 0 + labels // 4, labels % 4] += torch.where(torch.arange(40) < 30, 0.4, 0.1)
    return ClassData(images, labels, tuple("abcde"))


def test_the_copy_of_the_faint_model_is_fooled_everywhere(faint: ClassData, any_copy: None) -> None:
    model = Faint()
    copy, words = fast_copy(model, faint.images[:8], bf16=True)
    assert words == BF16
    assert (model(faint.images).argmax(1) == faint.labels).all()
    assert torch.equal(copy(faint.images), torch.full((40, 5), 8.0))


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_fools_the_copy_alone_is_no_claim(
    attack: str, faint: ClassData, evaluate: Callable, any_copy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The radius 0.1 is enough for the last ten images and for none of the others; the run of these goes to its end.

    Then it is repeated on the fp32 copy; FAB searches there at once.
    """
    (made,) = attack_list(attack)
    real, steps = type(made).step, []

    def spy(self: Any, model: Any, threat: Any, rows: Any, noise: Any) -> Any:
        steps.append(rows.step.tolist())
        return real(self, model, threat, rows, noise)

    monkeypatch.setattr(type(made), "step", spy)
    found = evaluate(attack, faint, model=Faint(), threat=cw.linf("0.1"), precision="mixed")
    assert found.search == BF16
    robust = found.outcomes.robust_correct(0)
    assert robust[:30].all()
    assert max(max(each) for each in steps) == made.length() - 1
    last_steps = sum(each.count(made.length() - 1) for each in steps)
    if made.needs_fp32:
        assert 30 * made.tasks(5) <= last_steps <= 40 * made.tasks(5)
    else:  # PGD takes the first of equal logits for the prediction, so the images of class a are never claimed
        assert (30 + 24) * made.tasks(5) <= last_steps <= 80 * made.tasks(5)
    assert made.needs_fp32 == attack.startswith("fab")


@pytest.mark.parametrize("look", [1, 8])
@pytest.mark.parametrize("batch_size", [8, 512])
@pytest.mark.parametrize("attack", ATTACKS)
def test_repeated_runs_are_finished_once_and_progress_adds_up(
    attack: str,
    batch_size: int,
    look: int,
    faint: ClassData,
    evaluate: Callable,
    any_copy: None,
    watched: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where one target class of a sample is to be repeated just when another one of the same batch breaks it."""
    monkeypatch.setattr(pool, "between_looks", lambda device: look)
    kept = Noted()
    evaluate(
        attack,
        faint,
        model=Faint(),
        threat=cw.linf("0.1"),
        precision="mixed",
        batch_size=batch_size,
        progress=watched,
        journal=kept,
    )
    assert len(set(kept.runs)) == len(kept.runs)
    assert {row for row, _ in kept.runs} == set(range(40))
    assert all(sum(units) == total for _, total, units, _ in watched.tasks)


def test_a_doubted_run_is_repeated_in_fp32_and_may_break_the_sample_there(
    faint: ClassData, evaluate: Callable, any_copy: None, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has no gradient and claims all images but those of the first class; the fp32 copy leads out of the class.

    What was never claimed is not repeated.
    """
    low, copies = [], {}
    real = cw.attacks.PGD.step

    def spy(self: Any, model: Any, threat: Any, rows: Any, noise: Any) -> Any:
        after = real(self, model, threat, rows, noise)
        copies.setdefault(id(model), len(copies))
        low.append((copies[id(model)], len(rows.x), float((after.memory["point"] - rows.x).abs().max())))
        return after

    monkeypatch.setattr(cw.attacks.PGD, "step", spy)
    kept, attack = Noted(), cw.attacks.PGD(steps=6, start="none", stop_when_fooled=True)
    how = {"images": faint, "model": Blind(), "threat": cw.linf("0.1")}
    found = evaluate([attack], **how, precision="mixed", progress=watched, journal=kept)
    assert found.search == BF16
    assert len(copies) == 2
    assert [which for which, *_ in low] == 6 * [0] + 6 * [1]  # the repetition comes after all others
    claimed = faint.labels.numpy() > 0
    assert [rows for _, rows, _ in low[:7]] == 6 * [40] + [claimed.sum()]
    assert max(moved for which, _, moved in low if not which) == 0
    can_be_broken = np.arange(40) >= 30
    assert np.array_equal(~found.outcomes.robust_correct(0), claimed & can_be_broken)
    assert sorted(kept.runs) == [(row, 0) for row in range(40)]
    assert sum(p != int(faint.labels[row]) for (row, _), p in zip(kept.runs, kept.predictions, strict=True)) == 8
    assert [(total, sum(units)) for _, total, units, _ in watched.tasks] == [(40, 40), (40, 40)]
    exact = evaluate([attack], **how, precision="exact")
    assert np.array_equal(~exact.outcomes.robust_correct(0), can_be_broken)
    assert np.array_equal(found.outcomes.margin[0][claimed], exact.outcomes.margin[0][claimed])


def test_a_run_goes_on_after_a_claim_that_was_not_confirmed(
    faint: ClassData, evaluate: Callable, any_copy: None
) -> None:
    """PGD sees the right signs in bf16 although its margins vanish there; Square, whose fooled rows stand still, moves on."""
    how = {"images": faint, "model": Faint(), "threat": cw.linf("0.1")}
    exact, mixed = (evaluate("pgd-6", precision=p, **how).outcomes for p in ("exact", "mixed"))
    assert not exact.robust_correct(0)[30:].any()
    assert np.array_equal(mixed.robust_correct(0), exact.robust_correct(0))
    broken = [(~evaluate(f"square-{n}", precision="mixed", **how).outcomes.robust_correct(0)).sum() for n in (1, 100)]
    assert broken[0] < 9 <= broken[1]


@pytest.mark.parametrize("attack", ["pgd-10", "apgd-ce-10", "apgd-t-5", "fab-t-6", "square-60"])
@pytest.mark.parametrize("threat", [cw.linf("0.12"), cw.l2(0.8)], ids=str)
def test_every_broken_verdict_is_confirmed_by_the_model_itself(
    attack: str, threat: cw.ThreatModel, network: nn.Module, data: ClassData
) -> None:
    evaluator = Evaluator([threat], attack_list(attack), batch_size=64, precision="mixed")
    found = evaluator.run(network, data, Silent())
    assert found.search == BF16
    outcomes = found.outcomes
    rows = torch.from_numpy((outcomes.broken_by[0] == 0).nonzero()[0])
    assert len(rows) >= 8
    chosen = data.subset(rows)
    images = evaluator.perturb(network, chosen, 0)
    assert images.dtype == torch.float32
    assert (threat.distance(images, chosen.images) <= float(threat.radius) + 1e-6).all()
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    with torch.no_grad():
        exact = network(images)
        wide = network.double()(images.double())
        network.float()
    assert (exact.argmax(1) != chosen.labels).all()
    assert (wide.argmax(1) != chosen.labels).float().mean() > 0.98  # only what lies on the border may differ
    assert np.array_equal(exact.argmax(1).numpy(), outcomes.prediction[0][rows])
    own = exact.gather(1, chosen.labels[:, None])[:, 0]
    rest = exact.scatter(1, chosen.labels[:, None], float("-inf")).amax(1)
    assert np.allclose((own - rest).numpy(), outcomes.margin[0][rows], atol=1e-4)
    assert found.excess <= 1e-6


def test_mixed_and_exact_agree_on_most_verdicts(evaluate: Callable) -> None:
    exact, mixed = (evaluate("apgd-ce-10+apgd-t-5", precision=p) for p in ("exact", "mixed"))
    agree = exact.outcomes.robust_correct(0) == mixed.outcomes.robust_correct(0)
    assert agree.mean() >= 0.97
    assert np.array_equal(exact.outcomes.clean_margin, mixed.outcomes.clean_margin)
    assert not np.array_equal(exact.outcomes.margin, mixed.outcomes.margin)


@pytest.mark.parametrize(
    ("asked", "hardware", "pays", "found"),
    [
        ("exact", True, 1, "exact"),
        ("mixed", False, 10**9, "mixed"),
        ("auto", True, 1, "mixed"),
        ("auto", False, 1, "exact"),
        ("auto", True, runtime.PAYS, "exact"),  # a network of digits is too small
    ],
)
def test_plan_table_and_summary_say_which(
    asked: str,
    hardware: bool,
    pays: int,
    found: str,
    network: nn.Module,
    data: ClassData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "has_bf16", lambda device: hardware)
    monkeypatch.setattr(runtime, "PAYS", pays)
    result = cw.audit(network, data, attacks="pgd-1", precision=asked, progress=Silent())  # type: ignore[arg-type]
    words = {"exact": "exact (fp32)", "mixed": "mixed (bf16 search, verdicts in fp32)"}
    assert result.plan.precision == found
    for text in (str(result), formatted(result, "markdown"), formatted(result, "latex")):
        assert words.pop(found, words.get(found, "")) in text or words == {}
        words = {"exact": "exact (fp32)", "mixed": "mixed (bf16 search, verdicts in fp32)"}
        assert words[found] in text
        assert words["exact" if found == "mixed" else "mixed"] not in text
    summary = json.loads(formatted(result, "json"))
    assert summary["plan"]["precision"] == found
    assert summary["environment"]["search"] == (BF16 if found == "mixed" else "a copy with BatchNorm folded")
    rows = list(csv.DictReader(io.StringIO(formatted(result, "csv"))))
    assert {row["precision"] for row in rows} == {found}


def test_a_precision_that_does_not_exist_is_refused(network: nn.Module, data: ClassData) -> None:
    with pytest.raises(ValueError, match="precision 'half' is unknown: auto, exact or mixed"):
        cw.audit(network, data, attacks="pgd-1", precision="half", progress=Silent())  # type: ignore[arg-type]


def test_precisions_are_two_audits_and_not_compared_as_one(network: nn.Module, data: ClassData, tmp_path: Any) -> None:
    cw.audit(network, data, attacks="pgd-1", precision="mixed", progress=Silent(), out=tmp_path)
    with pytest.raises(ValueError, match="holds another audit"):
        cw.audit(network, data, attacks="pgd-1", precision="exact", progress=Silent(), out=tmp_path)


class Coarse(nn.Module):
    """Sees how bright an image is only beside a thousand, from which bf16 rounds it away: its copy answers otherwise."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        brightness = x.flatten(1).mean(1, keepdim=True) + 1000 - 1000
        return self.net(x) + 100 * brightness * torch.linspace(-1, 1, 10, dtype=x.dtype)


class Bound(nn.Module):
    """Cannot be copied."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def __deepcopy__(self, memo: Any) -> None:
        raise TypeError("this object is bound to a device")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_a_model_whose_copy_answers_otherwise_is_searched_as_it_is(
    precision: str, network: nn.Module, evaluate: Callable
) -> None:
    found = evaluate("pgd-2", model=Coarse(network), precision=precision)
    assert found.search == "a copy with BatchNorm folded"
    assert evaluate("pgd-2", model=Bound(network), precision=precision).search == "the model itself"
    assert evaluate("pgd-2", model=lambda x: network(x), precision=precision).search == "the model itself"


def test_the_audited_model_is_left_as_it_was(network: nn.Module, evaluate: Callable) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layouts = [each.stride() for each in network.parameters()]
    grads = [each.requires_grad for each in network.parameters()]
    for precision in ("exact", "mixed"):
        evaluate("apgd-ce-3+square-3", precision=precision)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    assert [each.stride() for each in network.parameters()] == layouts
    assert [each.requires_grad for each in network.parameters()] == grads
    assert all(each.grad is None for each in network.parameters())
    assert not any(module.training for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_verdicts_stay_fp32_inside_autocast(network: nn.Module, data: ClassData) -> None:
    """A program that runs everything under autocast would otherwise have its verdicts in bf16."""
    seen: set[torch.dtype] = set()

    def watched(x: Tensor) -> Tensor:
        logits: Tensor = network(x)
        seen.add(logits.dtype)
        return logits

    with torch.autocast("cpu", dtype=torch.bfloat16):
        evaluator = Evaluator([cw.linf("0.1")], attack_list("pgd-2"), batch_size=16)
        evaluator.collect(watched, data.subset(torch.arange(20)))
    assert seen == {torch.float32}
