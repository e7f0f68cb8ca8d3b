"""The axes whose built-in choice is "off" carry real components too."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from classwise.configuration import config, replace
from classwise.data import Batch, ClassData, Loader, NoAugmentation, Resident
from classwise.mixing import Mixing
from classwise.perturbation import Gradient, Perturbation
from classwise.policies.base import all_knobs
from classwise.randomness import Noise
from classwise.training import SGD, Runtime, TrainConfig
from classwise.training.meter import Meter
from classwise.training.step import Network, Stepper


@config
class HalfOfAPartner(Mixing):
    """Mix every image with a random one of its class, from the whole training set, half and half."""

    def before(self, batch: Batch, source: Resident, noise: Noise) -> Batch:
        draw = noise.uniform(batch.x.flatten(1)[:, :1])[:, 0]
        same = batch.y[:, None] == source.labels[None, :]
        partner = [rows.nonzero()[int(u * rows.sum()), 0] for rows, u in zip(same, draw, strict=True)]
        return batch.with_images((batch.x + source.take(torch.stack(partner), noise)) / 2)


@config
class AlongTheGradient(Perturbation):
    """Take the loss a little up the gradient of the unweighted loss, and come back exactly."""

    length: float = 0.1

    def __call__(self, model: nn.Module, gradient: Gradient, epoch: int) -> AbstractContextManager[None]:
        return self._moved(model, gradient)

    @contextmanager
    def _moved(self, model: nn.Module, gradient: Gradient) -> Iterator[None]:
        weights = list(model.parameters())
        before = [weight.detach().clone() for weight in weights]
        moves = [self.length * each for each in gradient(weights)]
        with torch.no_grad():
            for weight, move in zip(weights, moves, strict=True):
                weight += move
            moved = [weight.detach().clone() for weight in weights]
        yield
        with torch.no_grad():
            for weight, first, there in zip(weights, before, moved, strict=True):
                weight.copy_(first + (weight - there))


def data() -> ClassData:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(30, 1, 4, 4, generator=generator), torch.arange(30) % 3
    return ClassData(images, labels, ("a", "b", "c"))


def stepped(changes: dict[str, object], rate: float = 0.1) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of a linear net before and after one step."""
    made = replace(TrainConfig(optimizer=SGD(lr=rate, weight_decay=0, momentum=0)), **changes)
    runtime, source = Runtime(made.hardware), data()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    before = [weight.detach().clone() for weight in net.parameters()]
    streams = [torch.Generator().manual_seed(seed) for seed in range(4)]
    loader = Loader(source, 30, NoAugmentation(), runtime.device, streams[0], streams[1])
    optimizer = made.optimizer.build(net.parameters())
    stepper = Stepper(made, runtime, Network(net, net), optimizer, loader.source, *streams[2:])
    knobs = all_knobs(made.policy, made.policy.init(3), 3, runtime.device)
    stepper(next(iter(loader)), knobs, {}, 0, Meter([], runtime))
    return before, [weight.detach().clone() for weight in net.parameters()]


def test_a_mixing_changes_what_is_learnt() -> None:
    _, plain = stepped({})
    _, mixed = stepped({"mixing": HalfOfAPartner()})
    assert not torch.equal(plain[0], mixed[0])


def test_a_perturbation_of_length_0_changes_nothing() -> None:
    _, plain = stepped({})
    _, perturbed = stepped({"perturbation": AlongTheGradient(length=0.0)})
    for one, other in zip(plain, perturbed, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_a_perturbation_moves_the_point_of_the_gradient_and_then_the_weights_come_back() -> None:
    before, plain = stepped({})
    _, perturbed = stepped({"perturbation": AlongTheGradient(length=1.0)})
    assert not torch.equal(plain[0], perturbed[0])
    still, same = stepped({"perturbation": AlongTheGradient(length=1.0)}, rate=1e-30)
    for one, other in zip(still, same, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(before[0], still[0])
