"""Micro-batches of a fixed shape, and what happens when memory runs out."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise import ClassData
from classwise.evaluation.shapes import FixedShapes, Memory, allows_smaller, ran_out
from classwise.progress import Advance, Silent


class Sizes:
    """A model that takes down how many images it is called on."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.seen = net, []

    def __call__(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.net(x)


class Started(Silent):
    """Forgets what a model has seen before the first task."""

    def __init__(self, model: Sizes) -> None:
        self.model, self.begun = model, False

    def task(self, label: str, total: int) -> AbstractContextManager[Advance]:
        if not self.begun:
            self.model.seen.clear()
        self.begun = True
        return super().task(label, total)


class Company(nn.Module):
    """Answers a little otherwise in batches of another shape, as a kernel may."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * (1 + 1e-6 * len(x))


class Cramped(nn.Module):
    """A network on a device with room for so many images, from a certain call on."""

    def __init__(self, net: nn.Module, room: int, fixed: bool = False, gradients_only: bool = False) -> None:
        super().__init__()
        self.net = Company(net) if fixed else net
        self.room, self.gradients_only = room, gradients_only
        self.calls, self.calm = [], 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        heavy = x.requires_grad or not self.gradients_only
        if heavy and len(self.calls) > self.calm and len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.net(x)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 33, 40])
@pytest.mark.parametrize(
    ("size", "flexible"), [(16, False), (16, True), (17, False), (17, True), (5, False), (4, True)]
)
def test_logits_and_gradients_are_those_of_the_plain_call(
    count: int, size: int, flexible: bool, network: nn.Module, data: ClassData
) -> None:
    model = Sizes(network)
    shapes = FixedShapes(model, Memory(size), flexible)
    weights = torch.randn(count, 10, generator=torch.Generator().manual_seed(0))
    results = []
    for call in (network, shapes):
        x = data.images[:count].clone().requires_grad_()
        logits = call(x)
        (gradient,) = torch.autograd.grad((weights * logits).sum(), x)
        results.append((logits.detach(), gradient))
    for plain, padded in zip(*results, strict=True):
        assert padded.shape == plain.shape
        torch.testing.assert_close(padded, plain, rtol=1e-5, atol=1e-5)
    full, rest = divmod(count, size)
    last = [min(-(-rest // 8) * 8, size) if flexible else size] if rest else []
    assert model.seen == [size] * full + last


def test_a_row_is_the_same_bit_for_bit_wherever_it_stands(network: nn.Module, data: ClassData) -> None:
    shapes = FixedShapes(network, Memory(16))
    with torch.no_grad():
        whole = shapes(data.images[:40])
        alone = torch.cat([shapes(data.images[i : i + 1]) for i in range(40)])
        turned = shapes(data.images[:40].flip(0)).flip(0)
    assert torch.equal(whole, alone)
    assert torch.equal(whole, turned)


def test_the_shape_follows_memory(network: nn.Module, data: ClassData) -> None:
    memory, model = Memory(32), Sizes(network)
    shapes = FixedShapes(model, memory)
    shapes(data.images[:3])
    memory.size = 8
    shapes(data.images[:11])
    assert model.seen == [32, 8, 8]


def test_smaller_shapes_are_allowed_only_where_they_change_nothing(network: nn.Module, data: ClassData) -> None:
    few = data.images[:8]
    assert allows_smaller(nn.Flatten().eval(), few, 64)
    assert not allows_smaller(Company(network), few, 64)
    assert not allows_smaller(network, few, 8)  # there is no smaller shape

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):  # type: ignore[no-untyped-def]
            return gradient * len(gradient)

    assert not allows_smaller(lambda x: Gradient.apply(x).flatten(1), few, 64)
    assert not allows_smaller(lambda x: x.detach().flatten(1), few, 64)  # nothing to compare
    assert not few.requires_grad


@pytest.mark.parametrize("batch_size", [8, 17, 48])
def test_the_model_sees_no_other_shape_than_allowed(
    batch_size: int, network: nn.Module, data: ClassData, evaluate: Callable
) -> None:
    """From the first clean batch on; before that a few images tell which shapes are allowed."""
    fixed, free = Sizes(Company(network)), Sizes(network)
    for model in (fixed, free):
        evaluate("apgd-ce-3+fab-t-2+square-5", model=model, batch_size=batch_size, progress=Started(model))
    assert set(fixed.seen) == {batch_size}
    allowed = {8, 16, 24, 32, 40, 48, batch_size}
    assert set(free.seen) <= {each for each in allowed if each <= batch_size}
    assert max(free.seen) == batch_size
    assert len(set(free.seen)) > 1 or batch_size == 8


CPU_WORDS = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError(CPU_WORDS)], ids=["device", "cpu"])
def test_memory_is_halved_until_it_is_enough(error: RuntimeError) -> None:
    """A CPU's allocator has no error of its own."""
    memory, tried = Memory(50), []

    def work(size: int) -> str:
        tried.append(size)
        if size > 7:
            raise error
        return "done"

    with pytest.warns(UserWarning, match="memory ran out") as told:
        assert memory.run(work) == "done"
    assert tried == [50, 25, 12, 6]
    assert [str(each.message).split("going on with ")[1].split(" images")[0] for each in told] == ["25", "12", "6"]
    assert memory.size == 6
    assert memory.run(lambda size: size) == 6  # it stays small


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    memory = Memory(8)
    with pytest.raises(RuntimeError, match="size mismatch"):
        memory.run(lambda size: (_ for _ in ()).throw(RuntimeError("size mismatch")))
    assert memory.size == 8


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("attacks", ["pgd-5+apgd-t-2", "fab-t-3+square-10"])
@pytest.mark.parametrize("gradients_only", [False, True])
def test_an_audit_goes_on_with_less_memory(
    fixed: bool, attacks: str, gradients_only: bool, network: nn.Module, data: ClassData
) -> None:
    """Also where the model may only be called on full batches: then these become smaller."""
    how = {"threat": cw.linf("0.12"), "attacks": attacks, "batch_size": 64, "progress": Silent(), "precision": "exact"}
    enough = cw.audit(Cramped(network, 64, fixed), data, **how)
    assert enough.environment["images_at_once"] == 64
    model = Cramped(network, 20, fixed, gradients_only)
    with pytest.warns(UserWarning, match="memory ran out") as told:
        found = cw.audit(model, data, **how)
    assert ["going on with 32 images" in str(each.message) for each in told] == [True, False]
    assert "going on with 16 images at a time" in str(told[1].message)
    assert found.environment["images_at_once"] == 16
    assert found.to_dict()["environment"]["images_at_once"] == 16
    for name in ("clean_prediction", "prediction", "broken_by"):
        assert np.array_equal(getattr(found.outcomes, name), getattr(enough.outcomes, name)), name


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("calm", [8, 12, 20, 40])
def test_memory_that_runs_out_in_the_middle(
    fixed: bool, calm: int, network: nn.Module, data: ClassData, evaluate: Callable
) -> None:
    """More images are under attack then than can be worked on at once, and they are judged in parts too."""
    enough = evaluate("apgd-ce-5+apgd-t-2", model=Cramped(network, 64, fixed))

    def as_function(model: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda x: model(x)  # a function is searched as it is, so that every call is counted here

    model = Cramped(network, 10, fixed)
    model.calm = calm
    with pytest.warns(UserWarning, match="memory ran out") as told:
        found = evaluate("apgd-ce-5+apgd-t-2", model=as_function(model))
    assert len(told) == 3
    assert len(model.calls) > 3 * calm
    assert found.images_at_once == 8
    assert np.array_equal(found.outcomes.prediction, enough.outcomes.prediction)
    assert np.array_equal(found.outcomes.broken_by, enough.outcomes.broken_by)


def test_the_words_are_those_of_the_allocator_of_this_torch() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(told.value)
    assert not isinstance(told.value, torch.OutOfMemoryError)


@pytest.mark.parametrize("room", [3, 1])
def test_an_audit_with_room_for_few_images(room: int, network: nn.Module, data: ClassData, tmp_path: Path) -> None:
    """Its identity does not depend on room: with more of it the finished audit is read again."""
    few = data.first_per_class(1)
    how = {"attacks": "pgd-2", "batch_size": 16, "progress": Silent(), "out": tmp_path}
    model = Cramped(network, room)
    with pytest.warns(UserWarning, match="memory ran out"):
        found = cw.audit(model, few, **how)
    assert found.environment["images_at_once"] == {3: 2, 1: 1}[room]
    model.room = 64
    assert cw.audit(model, few, **how).folder == tmp_path


@pytest.mark.parametrize("room", [3, 1])
def test_room_for_fewer_images_than_the_first_look_takes(
    room: int, network: nn.Module, data: ClassData, evaluate: Callable
) -> None:
    few = data.subset(torch.arange(10))
    with pytest.warns(UserWarning, match="memory ran out"):
        found = evaluate("pgd-2", few, model=Cramped(network, room), batch_size=16)
    assert found.images_at_once == {3: 2, 1: 1}[room]
    assert np.array_equal(found.outcomes.prediction, evaluate("pgd-2", few).outcomes.prediction)


def test_no_memory_at_all_is_an_error(network: nn.Module, data: ClassData) -> None:
    with pytest.warns(UserWarning, match="memory ran out"), pytest.raises(torch.OutOfMemoryError):
        cw.audit(Cramped(network, 0), data, attacks="pgd-2", batch_size=16, progress=Silent())


@cw.register("attack", "whole-for-tests")
@cw.config
class Whole(cw.attacks.Attack):
    """One signed gradient step, which cannot be taken apart."""

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):  # type: ignore[no-untyped-def]
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(x), y, reduction="sum"), x)
        return x.detach() + threat.ascent(gradient) * radius.view(-1, 1, 1, 1)


def test_an_attack_that_is_no_sequence_of_steps_shares_the_memory(
    network: nn.Module, data: ClassData, evaluate: Callable
) -> None:
    enough = evaluate([Whole()], batch_size=16)
    assert 5 < enough.outcomes.robust_correct(0).sum() < 115
    with pytest.warns(UserWarning, match="memory ran out"):
        found = evaluate([Whole()], model=Cramped(network, 20, fixed=True, gradients_only=True))
    assert found.images_at_once == 16
    assert np.array_equal(found.outcomes.prediction, enough.outcomes.prediction)
    shuffled = data.subset(torch.arange(len(data)).flip(0))
    margin = evaluate([Whole()], shuffled, batch_size=16).outcomes.margin
    assert np.array_equal(margin[0][::-1], enough.outcomes.margin[0])
