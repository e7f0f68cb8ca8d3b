"""A new method is one file, as the design promises; and a method may choose how the loss is reduced."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from classwise import Dataset, Run, policies, registry, train
from classwise.attacks import PGD
from classwise.data import Loader, NoAugmentation
from classwise.objectives import Trades
from classwise.progress import Silent
from classwise.registry import load_plugin
from classwise.training import SGD
from classwise.training.step import Stepper

INVERSE = '''
from classwise import ClassPolicy, config, mean_one, register
@register("policy", "test-inverse-accuracy")
@config
class InverseAccuracy(ClassPolicy):
    """Weight class c by 1 / (robust accuracy of c + smoothing)."""
    smoothing: float = 0.1
    """Dimensionless, > 0."""
    needs = {"train_robust"}
    def on_epoch(self, state, stats):                     # stats["train_robust"]: (G,) in [0, 1]
        return {**state, "weight": mean_one(1 / (stats["train_robust"] + self.smoothing))}
'''

BY_SUM = '''
import torch
from classwise import ClassPolicy, config, register
@register("policy", "test-by-sum")
@config
class BySum(ClassPolicy):
    """Fixed weights, each term divided by the sum of its weights."""
    label: tuple[float, ...] = ()
    robust: tuple[float, ...] = ()
    reducer = "weight-sum"
    def init(self, groups):
        return {"label": torch.tensor(self.label), "robust": torch.tensor(self.robust)}
'''


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("plugins")
    paths = []
    for name, text in (("my_policy.py", INVERSE), ("by_sum.py", BY_SUM)):
        paths.append(folder / name)
        paths[-1].write_text(text)
        digest = load_plugin(paths[-1])
        assert load_plugin(paths[-1]) == digest  # twice is once
    return paths


def test_the_policy_of_the_design_page(
    plugins: list[Path], toy_data: Callable[..., Any], toy_config: Callable[..., Any], tmp_path: Path
) -> None:
    policy = registry.get("policy", "test-inverse-accuracy")(smoothing=0.2)
    run = train(
        toy_config(policy=policy, epochs=3),
        tmp_path / "run",
        data=Dataset("toy", train=toy_data(), test=toy_data),
        plugins=plugins[:1],
        progress=Silent(),
    )
    assert run.history[0]["knobs"]["weight"] == [1, 1, 1]
    for before, after in zip(run.history, run.history[1:], strict=False):
        inverse = [1 / (each + 0.2) for each in before["train"]["robust"]]
        expected = [each / (sum(inverse) / 3) for each in inverse]
        assert after["knobs"]["weight"] == pytest.approx(expected, rel=1e-6)
    (kept,) = (tmp_path / "run" / "plugins").iterdir()
    assert kept.read_text() == INVERSE
    assert "name: test-inverse-accuracy" in (tmp_path / "run" / "config.yaml").read_text()
    assert Run(tmp_path / "run").config.policy == policy
    assert isinstance(policy, policies.ClassPolicy)


def test_weight_sum_is_the_loss_written_out(
    plugins: list[Path], toy_data: Callable[..., Any], toy_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """sum w CE / sum w + beta sum v KL / sum v, one step from weights that are known."""
    w, v = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([3.0, 0.0, 1.0])
    policy = registry.get("policy", "test-by-sum")(label=tuple(w.tolist()), robust=tuple(v.tolist()))
    losses, call = [], Stepper._reduce

    def watched(self: Stepper, outputs: Any, batch: Any, *rest: Any) -> torch.Tensor:
        loss = call(self, outputs, batch, *rest)
        with torch.no_grad():
            model = self.network.inner
            clean, adversarial = outputs.clean.softmax(1), outputs.adversarial.softmax(1)
            assert torch.allclose(model(batch.x).softmax(1), clean, atol=1e-6)
            entropy = -clean.gather(1, batch.y[:, None])[:, 0].log()
            divergence = (clean * (clean.log() - adversarial.log())).sum(1)
            by_hand = (w[batch.y] * entropy).sum() / w[batch.y].sum()
            by_hand += 2.0 * (v[batch.y] * divergence).sum() / v[batch.y].sum()
            losses.append((float(loss), float(by_hand)))
        return loss

    monkeypatch.setattr(Stepper, "_reduce", watched)
    config = toy_config(policy=policy, objective=Trades(beta=2.0), epochs=1, adversary=PGD(steps=3))
    train(config, tmp_path / "run", data=Dataset("toy", toy_data(), toy_data), progress=Silent())
    assert len(losses) == 5
    for ours, by_hand in losses:
        assert ours == pytest.approx(by_hand, rel=1e-5)


def test_weight_sum_with_a_batch_without_weight(
    plugins: list[Path], toy_data: Callable[..., Any], toy_config: Callable[..., Any], tmp_path: Path
) -> None:
    """A batch whose every sample weighs nothing must not turn the weights into NaN."""
    policy = registry.get("policy", "test-by-sum")(label=(1.0, 1.0, 1.0), robust=(0.0, 0.0, 1.0))
    config = toy_config(policy=policy, objective=Trades(beta=2.0), epochs=1, batch_size=2, optimizer=SGD(lr=0.01))
    run = train(config, tmp_path / "run", data=Dataset("toy", toy_data(), toy_data), progress=Silent())
    assert run.history[0]["train"]["loss"] > 0


def test_broken_plugins_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    with pytest.raises(ValueError, match=r"broken\.py.* failed while loading: ModuleNotFoundError"):
        load_plugin(tmp_path / "broken.py")
    with pytest.raises(ValueError, match=r"missing\.py' is not a"):
        load_plugin(tmp_path / "missing.py")
    (tmp_path / "thief.py").write_text(INVERSE.replace("test-inverse-accuracy", "kl-dro"))
    with pytest.raises(ValueError, match="'kl-dro' is already registered"):
        load_plugin(tmp_path / "thief.py")
    assert registry.get("policy", "kl-dro") is policies.KLDRO


def test_a_loader_is_what_the_loop_walks(toy_data: Callable[..., Any]) -> None:
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    loader = Loader(toy_data(), 7, NoAugmentation(), torch.device("cpu"), *generators)
    assert len(loader) == len(list(loader)) == 7
