"""Adversarial weight perturbation: where weights go, and how they come back."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, Dataset, Run, registry, train
from classwise.attacks import PGD
from classwise.configuration import from_plain, replace
from classwise.data import Split
from classwise.models import Linear, SmallCNN
from classwise.objectives import Natural, Trades
from classwise.perturbation import AdversarialWeights, NoPerturbation, Perturbation
from classwise.progress import Silent
from classwise.training import SGD, Hardware, TrainConfig


class Net(nn.Module):
    """Tensors that move (convolution, linear layer) among tensors that do not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.place = nn.Parameter(torch.randn(1, 4, 1, 1))  # no "weight" in its name
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.frozen((self.norm(self.conv(x)) + self.place).relu().mean((2, 3))))


MOVING = {"conv.weight", "fc.weight"}


def gradients(scale: float = 1.0) -> Callable[..., list[Tensor]]:
    """Random ones, the same at every call."""

    def gradient(weights: Any) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [scale * torch.randn(weight.shape, generator=generator, dtype=weight.dtype) for weight in weights]

    return gradient


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("gamma", [0.005, 0.5])
def test_each_weight_moves_along_its_gradient_by_a_share_of_its_norm(gamma: float) -> None:
    model = Net().double()
    before = copied(model)
    expected = dict(zip(sorted(MOVING), gradients()([before[name] for name in sorted(MOVING)]), strict=True))
    with AdversarialWeights(gamma=gamma)(model, gradients(), 0):
        for name, now in model.state_dict().items():
            move = now - before[name]
            if name in MOVING:
                g = expected[name]
                assert torch.allclose(move, gamma * before[name].norm() * g / g.norm(), rtol=0, atol=1e-15)
                assert float(move.norm()) == pytest.approx(gamma * float(before[name].norm()))
            else:
                assert torch.equal(now, before[name]), name
    assert same(copied(model), before)


def test_the_length_does_not_depend_on_that_of_the_gradient() -> None:
    model = Net()
    with AdversarialWeights()(model, gradients(1e-6), 0):
        small = copied(model)
    with AdversarialWeights()(model, gradients(1e6), 0):
        assert all(torch.allclose(small[name], each, rtol=0, atol=1e-6) for name, each in copied(model).items())


def test_what_the_step_adds_stays_and_what_the_perturbation_added_goes() -> None:
    model = Net()
    before = copied(model)
    added = {name: 0.01 * torch.randn_like(value) for name, value in model.named_parameters()}
    with AdversarialWeights(gamma=0.1)(model, gradients(), 0), torch.no_grad():
        for name, value in model.named_parameters():
            value += added[name]
    for name, value in model.named_parameters():
        assert torch.allclose(value.detach(), before[name] + added[name], rtol=0, atol=2e-7), name


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e8])
def test_weights_come_back_bit_for_bit(scale: float) -> None:
    """Also where the move swamps them or is lost in them, and after an error."""
    for gamma in (1e-9, 0.01, 1e4):
        model = Net()
        with torch.no_grad():
            model.conv.weight *= scale * torch.logspace(-8, 8, 4).view(-1, 1, 1, 1)
        before = copied(model)
        with AdversarialWeights(gamma=gamma)(model, gradients(), 0):
            pass
        assert same(copied(model), before)
        with (
            pytest.raises(RuntimeError, match="out of memory"),
            AdversarialWeights(gamma=gamma)(model, gradients(), 0),
        ):
            raise RuntimeError("out of memory")
        assert same(copied(model), before)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-44])
def test_a_dead_layer_stays_finite(scale: float) -> None:
    """No gradient, or one that is all but nothing: no move or hardly one, and no NaN."""
    model = Net()
    before = copied(model)
    with AdversarialWeights()(model, gradients(scale), 0):
        for name, now in model.state_dict().items():
            assert bool(now.isfinite().all())
            assert float((now - before[name]).abs().max()) <= 0.01 * float(before[name].abs().max()) * (scale > 0)
    assert same(copied(model), before)


def test_without_a_length_and_before_its_first_epoch_it_asks_for_nothing() -> None:
    def refuse(_: Any) -> list[Tensor]:
        raise AssertionError("a gradient was asked for")

    model = Net()
    before = copied(model)
    for perturbation, epoch in ((AdversarialWeights(gamma=0), 5), (AdversarialWeights(begin=5), 4)):
        with perturbation(model, refuse, epoch):
            assert same(copied(model), before)
    with pytest.raises(AssertionError, match="was asked for"), AdversarialWeights(begin=5)(model, refuse, 5):
        pass


def test_a_model_without_weights_to_move_is_refused() -> None:
    with (
        pytest.raises(ValueError, match='no trained parameter with two axes and "weight" in its name'),
        AdversarialWeights()(nn.BatchNorm2d(3), gradients(), 0),
    ):
        pass


def test_values_that_make_no_sense_are_refused() -> None:
    for gamma in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"gamma .* must be at least 0"):
            AdversarialWeights(gamma=gamma)
    with pytest.raises(ValueError, match="begin -1 must be at least 0"):
        AdversarialWeights(begin=-1)


def test_the_papers_name_finds_it() -> None:
    assert from_plain(Perturbation, "awp") == AdversarialWeights(gamma=0.01, begin=0)
    assert registry.aliases("perturbation", "adversarial-weights") == ["awp"]


def test_it_never_waits_for_the_device(no_waiting: Any) -> None:
    model = Net()
    with no_waiting(), AdversarialWeights()(model, gradients(), 0):
        pass


def data() -> ClassData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=generator)
    return ClassData(
        0.4 * pattern[labels] + 0.6 * torch.rand(48, 1, 4, 4, generator=generator), labels, ("a", "b", "c")
    )


PLAN = TrainConfig(
    split=Split(at_least=4),
    model=SmallCNN(width=4, hidden=8),
    adversary=PGD(steps=2),
    validation_attack=PGD(steps=1),
    optimizer=SGD(lr=0.1),
    epochs=2,
    batch_size=8,
    hardware=Hardware(device="cpu", precision="fp32"),
)


def trained(out: Path, perturbation: Perturbation, **changes: Any) -> Run:
    plan = replace(PLAN, perturbation=perturbation, **changes)
    return train(plan, out, data=Dataset("toy", train=data(), test=data), progress=Silent())


def weights(run: Run, which: str = "last") -> dict[str, Tensor]:
    return copied(run.model(which))


@pytest.mark.parametrize(
    "objective", [PLAN.objective, Trades(beta=2), Natural()], ids=lambda each: each.registered_name
)
def test_runs_with_it(objective: Any, tmp_path: Path) -> None:
    """Length 0 is the run without, an epoch before ``begin`` as well; a move changes what is learnt, repeatably."""
    plain = trained(tmp_path / "plain", NoPerturbation(), objective=objective)
    none = trained(tmp_path / "none", AdversarialWeights(gamma=0), objective=objective)
    moved = trained(tmp_path / "moved", AdversarialWeights(gamma=0.05), objective=objective)
    again = trained(tmp_path / "again", AdversarialWeights(gamma=0.05), objective=objective)
    late = trained(tmp_path / "late", AdversarialWeights(gamma=0.05, begin=1), objective=objective)
    assert same(weights(plain), weights(none))
    assert same(weights(moved), weights(again))
    assert not same(weights(plain), weights(moved))
    assert same(weights(plain, "1"), weights(late, "1"))
    assert not same(weights(plain, "2"), weights(late, "2"))
    assert moved.history[0]["train"]["loss"] > plain.history[0]["train"]["loss"]  # it was taken where it is higher


def test_a_rate_of_nothing_leaves_the_weights_exactly_alone(tmp_path: Path) -> None:
    still = SGD(lr=1e-30, momentum=0, weight_decay=0)
    run = trained(tmp_path / "run", AdversarialWeights(gamma=0.1), optimizer=still, epochs=1, model=Linear())
    assert same(weights(run, "0"), weights(run, "1"))


PROGRAM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from test_awp import AdversarialWeights, trained
from classwise.averaging import StepEMA
from classwise.mixing import SameClassMixup
trained(Path(sys.argv[1]), AdversarialWeights(gamma=0.05), mixing=SameClassMixup(alpha=0.5), averaging=StepEMA(), batch_size=9)
"""


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    """The move is along the gradient over all processes; partners of the class and the average of every step with it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, launch in (("one", []), ("two", together)):
        command = [sys.executable, *launch, str(program), str(tmp_path / name), str(Path(__file__).parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    for which in ("2", "2-averaged"):
        first, second = (weights(Run(tmp_path / name), which) for name in ("one", "two"))
        assert all(torch.allclose(first[key], second[key], rtol=0, atol=1e-5) for key in first)
