"""Anyone's model: whatever can be called on images in [0, 1] is audited, and alike models get alike verdicts."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import classwise as cw
from classwise.data import ClassData, load
from classwise.models import Normalized, network_named
from classwise.progress import Silent


@pytest.fixture(scope="module")
def digits() -> ClassData:
    return load("digits").test.first_per_class(2)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A linear network after a few steps on the training images: right on most, broken on some."""
    data = load("digits").train
    x, y = data.batch(slice(None), torch.device("cpu"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


class Scorer:
    """No torch module at all."""

    def __init__(self, net: nn.Module) -> None:
        self.weight, self.bias = net[1].weight.detach(), net[1].bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias

    def score(self, x: Tensor) -> Tensor:
        return self(x)


class Inverted(nn.Module):
    """Undoes (x - 0.5) / 0.25, so that its normalised form is the trained network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * 0.25 + 0.5)


def audit(model: object, digits: ClassData) -> cw.AuditResult:
    return cw.audit(model, digits, threat=cw.linf(0.1), attacks="pgd-5", progress=Silent())


def test_every_kind_of_callable_gets_the_verdicts_of_the_module(trained: nn.Module, digits: ClassData):
    expected = audit(trained, digits)
    assert 0 < expected.mean.value < expected.outcomes.clean_correct.mean()  # some are broken and some are not

    def function(x: Tensor) -> Tensor:
        return trained(x)

    others = {
        "function": function,
        "lambda": lambda x: trained(x),
        "bound method": Scorer(trained).score,
        "object": Scorer(trained),
        "normalised": Normalized(Inverted(trained).eval(), (0.5,), (0.25,)),
    }
    for name, model in others.items():
        result = audit(model, digits)
        assert np.array_equal(result.outcomes.clean_correct, expected.outcomes.clean_correct), name
        assert np.array_equal(result.outcomes.robust_correct(0), expected.outcomes.robust_correct(0)), name
        assert result.plan.data_sha256 == expected.plan.data_sha256


def test_a_checkpoint_with_an_import_path_gets_the_verdicts_of_the_module(
    trained: nn.Module, digits: ClassData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Wrapped as programs wrap it: an average beside raw weights, under a prefix."""
    (tmp_path / "their_nets.py").write_text(
        "from torch import nn\ndef make(features, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    state = {f"module.{key}": each for key, each in trained.state_dict().items()}
    raw = {key: torch.zeros_like(each) for key, each in state.items()}
    torch.save({"epoch": 9, "model": raw, "model_ema": state}, tmp_path / "weights.pth")
    network = network_named("import:their_nets:make(64, classes=10)")
    with pytest.warns(UserWarning, match="the averaged ones are taken"):
        result = cw.audit(
            tmp_path / "weights.pth",
            digits,
            threat=cw.linf(0.1),
            attacks="pgd-5",
            network=network,
            device="cpu",
            progress=Silent(),
        )
    expected = audit(trained, digits)
    assert np.array_equal(result.outcomes.clean_correct, expected.outcomes.clean_correct)
    assert np.array_equal(result.outcomes.robust_correct(0), expected.outcomes.robust_correct(0))


def test_a_function_leaves_no_gradients_in_what_it_closes_over(trained: nn.Module, digits: ClassData):
    trained.zero_grad()
    audit(lambda x: trained(x), digits)
    assert all(each.grad is None for each in trained.parameters())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda x: x.flatten(1).softmax(1)[:, :10] * 0 + 0.1, "outputs are probabilities"),
        (lambda x: x.flatten(1), r"answers \(8, 64\) .* each of the 10 classes"),
        (lambda x: {"logits": x.flatten(1)[:, :10]}, "answers with a dict and not with a tensor"),
        (lambda x: x.flatten(1)[:, :10] / 0, "not finite"),
    ],
)
def test_functions_that_are_no_classifier_are_refused(model: object, says: str, digits: ClassData):
    with pytest.raises(ValueError, match=says):
        audit(model, digits)
