"""What holds of every component through the whole loop: in the ball, finite, blind to the names of classes."""

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, ThreatModel
from classwise.attacks import Attack
from classwise.configuration import replace
from classwise.data import Roles
from classwise.perturbation import AdversarialWeights
from classwise.policies import KLDRO, Fixed
from classwise.training import SGD

AXES = ("objective", "policy", "perturbation", "averaging", "mixing", "attack", "repair")
CLASSES = (2, 3, 10, 43, 200)

MEAN_ONE = {
    "constraint-reweight": ("label", "robust"),
    "error-reweight": ("weight",),
    "hedge": ("weight",),
    "similarity-transfer": ("radius", "step", "label"),
}
"""Policies whose knobs have mean 1 over the classes."""


def components(lab: Any) -> Iterator[tuple[str, str]]:
    return ((axis, name) for axis in AXES for name in lab.names(axis))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """How far each perturbed image of training is beyond its own radius, and beyond the box."""
    seen: list[Tensor] = []
    ours = Attack.__call__

    def watching(self: Attack, model: Any, x: Tensor, y: Tensor, *, threat: ThreatModel, **named: Any) -> Tensor:
        x_adv = ours(self, model, x, y, threat=threat, **named)
        if named.get("radius") is not None:
            seen.append(threat.distance(x_adv, x) - named["radius"].double())
            seen.append((x_adv - x_adv.clamp(0, 1)).abs().flatten())
        return x_adv

    monkeypatch.setattr(Attack, "__call__", watching)
    return seen


@pytest.mark.parametrize("classes", [2, 10, 200, *(pytest.param(each, marks=pytest.mark.slow) for each in (3, 43))])
def test_every_component_trains_in_every_world(classes: int, worlds: Any, lab: Any, watched: list[Tensor]) -> None:
    """Most classes are absent, batches hold as little as one image: all stays finite, in the ball and in the box."""
    ran = 0
    for number, (axis, name) in enumerate(components(lab)):
        whole, _ = lab.completed({axis: name})
        fields = {lab.fields[each]: lab.component(each, part) for each, part in whole.items()}
        if name == "fixed":
            fields["policy"] = Fixed(weight=tuple(0.5 + each % 3 for each in range(classes)))
        run = worlds.of(classes, norm=number).run(fields)
        assert all(bool(value.isfinite().all()) for value in run.weights.values()), name
        assert all(bool(value.isfinite().all()) for value in run.average.values()), name
        for epoch, knob in itertools.product(run.history, MEAN_ONE.get(name, ())):
            values = torch.tensor(epoch["knobs"][knob], dtype=torch.float64)
            assert float(values.mean()) == pytest.approx(1, abs=1e-6), (name, knob)
            assert float(values.min()) >= 0
        ran += 1
    assert ran == sum(len(lab.names(axis)) for axis in AXES) >= 27
    assert len(watched) >= 2 * ran
    assert -1e-3 <= max(float(each.max()) for each in watched[::2]) <= 1e-5
    assert max(float(each.max()) for each in watched[1::2]) == 0


@pytest.mark.parametrize("groups", [2, 5])
def test_every_component_trains_on_groups_that_are_no_labels(groups: int, lab: Any) -> None:
    """Two groups across the classes, or five of which one is empty: every class vector has one entry per group."""

    def grouped(data: ClassData) -> ClassData:
        names = tuple(f"group {i}" for i in range(groups))
        members = torch.arange(len(data)) % min(groups, 4)
        return ClassData(data.images, data.labels, data.class_names, data.index, groups=members, group_names=names)

    roles = Roles(train=grouped(lab.roles.train), validation=grouped(lab.roles.validation))
    ran = 0
    for axis, name in components(lab):
        whole, _ = lab.completed({axis: name})
        made = lab.config(whole)
        if made.policy.wants_labels():
            continue
        if name == "fixed":
            made = replace(made, policy=Fixed(weight=tuple(0.5 + i for i in range(groups))))
        run = lab.run_on(roles, lab.start, made, lab.teacher)
        assert all(bool(value.isfinite().all()) for value in run.weights.values()), name
        for epoch in run.history:
            vectors = [*epoch["knobs"].values(), *epoch["policy"].values(), epoch["train"]["count"]]
            assert {len(vector) for vector in vectors} == {groups}
            assert sum(epoch["train"]["count"]) == len(roles.train)
        assert run.acted or made.policy.registered_name == "uniform", name
        ran += 1
    assert ran >= 26


def relabelled(data: ClassData, order: Tensor) -> ClassData:
    """The same images, class c now called order[c]."""
    return ClassData(data.images, order[data.labels], data.class_names, data.index)


def reheaded(net: nn.Module, order: Tensor) -> nn.Module:
    """The same network, its outputs in the new order."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for value in net.head.parameters():
            value[order] = value.clone()
    return net


def reordered(value: Any, order: Tensor) -> Any:
    """Every list with one entry per class, in the new order."""
    if isinstance(value, dict):
        return {key: reordered(each, order) for key, each in value.items()}
    if isinstance(value, list) and len(value) == len(order):
        moved: list[Any] = [None] * len(order)
        for old, new in enumerate(order.tolist()):
            moved[new] = value[old]
        return moved
    return value


def flattened(value: Any, where: str = "") -> dict[str, float]:
    if isinstance(value, dict):
        return {key: each for name in value for key, each in flattened(value[name], f"{where}.{name}").items()}
    if isinstance(value, list):
        return {key: each for i, item in enumerate(value) for key, each in flattened(item, f"{where}.{i}").items()}
    return {where: float(value)} if isinstance(value, int | float) else {}


def test_permuting_the_classes_permutes_every_class_vector(lab: Any) -> None:
    """Knobs, notes, counts, measures, weights of batches and validation tables of every component; and the network's head.

    In l_2, where rounding changes a step a little and not its sign.
    """
    order = torch.tensor([2, 0, 1])
    roles = Roles(train=relabelled(lab.roles.train, order), validation=relabelled(lab.roles.validation, order))
    start, teacher = reheaded(lab.start, order), reheaded(lab.teacher, order)
    told_apart = 0
    for axis, name in components(lab):
        whole, _ = lab.completed({axis: name})
        made = lab.config(whole, threat=ThreatModel(norm="l2", radius="0.4"))
        renamed = made
        if isinstance(made.policy, Fixed):
            renamed = replace(made, policy=Fixed(weight=tuple(reordered(list(made.policy.weight), order))))
        run, other = lab.run(made), lab.run_on(roles, start, renamed, teacher)
        for before, after in zip(run.history, other.history, strict=True):
            keep = ("knobs", "policy", "train", "validation", "scores")
            wanted = flattened(reordered({key: before[key] for key in keep}, order))
            assert flattened({key: after[key] for key in keep}) == pytest.approx(wanted, abs=1e-4), name
        for key, value in reheaded_weights(run.weights, order).items():
            assert float((other.weights[key] - value).abs().max()) <= 1e-4, (name, key)
        before, after = (
            flattened({key: each.history[-1][key] for key in ("knobs", "policy")}) for each in (run, other)
        )
        told_apart += before != pytest.approx(after, abs=1e-2)
    assert told_apart >= 10  # the values are not the same for every class anyway


def reheaded_weights(weights: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    moved = {key: value.clone() for key, value in weights.items()}
    for key in ("head.weight", "head.bias"):
        moved[key][order] = weights[key]
    return moved


@pytest.mark.parametrize("classes", CLASSES)
def test_adversarial_weights_come_back_exactly_when_nothing_is_learnt(classes: int, worlds: Any) -> None:
    world = worlds.of(classes, norm=classes)
    for gamma in (0.005, 0.5):
        run = world.run(
            {
                "perturbation": AdversarialWeights(gamma=gamma),
                "optimizer": SGD(lr=1e-30, weight_decay=0.0, momentum=0.0),
            }
        )
        for name, weight in world.start.named_parameters():
            assert torch.equal(run.weights[name], weight), name


@pytest.fixture
def distributions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor, Tensor, Tensor]]:
    """For each batch: tau, class scores, presence, and the weights that were given."""
    seen: list[tuple[float, Tensor, Tensor, Tensor]] = []
    ours: Callable[..., Any] = KLDRO.on_batch

    def watching(self: KLDRO, state: Any, stats: Any) -> Any:
        weights, state = ours(self, state, stats)
        seen.append((self.tau, stats["batch_margin"], stats["batch_count"] > 0, weights))
        return weights, state

    monkeypatch.setattr(KLDRO, "on_batch", watching)
    return seen


@pytest.mark.parametrize("tau", [0.01, 0.5, 3.0, float("inf")])
def test_faal_weights_are_a_distribution_on_the_edge_of_the_ball(
    tau: float, worlds: Any, distributions: list[tuple[float, Tensor, Tensor, Tensor]]
) -> None:
    """In the simplex over the classes present, rising with the score, with KL(uniform || q) = tau."""
    for classes in CLASSES:
        worlds.of(classes, norm=0).run({"policy": KLDRO(tau=tau), "seed": 1})
    assert len(distributions) >= 20
    several = 0
    for _, scores, present, weights in distributions:
        number = int(present.sum())
        q, score = (weights / number)[present], scores[present]
        assert float(q.sum()) == pytest.approx(1, abs=1e-9)
        assert float(q.min()) >= 0
        assert float(weights[~present].abs().sum()) == 0
        rising = q[score.argsort()]
        assert bool((rising[1:] >= rising[:-1] - 1e-12).all())
        if number > 1 and float(score.max() - score.min()) > 1e-6:
            several += 1
            divergence = float((-(q * number).log()).mean())
            assert divergence == pytest.approx(tau, rel=1e-6, abs=1e-9)
    assert several >= 5


def test_the_weights_of_wat_sum_to_the_number_of_classes(worlds: Any, lab: Any) -> None:
    for classes in CLASSES:
        whole, _ = lab.completed({"policy": "hedge"})
        fields = {lab.fields[axis]: lab.component(axis, name) for axis, name in whole.items()}
        arms = worlds.of(classes, norm=classes).run(fields).policy["arms"]
        assert len(arms) == classes + 1
        assert float(arms.sum()) == pytest.approx(classes, rel=1e-12)


def test_worst_class_worst_fifth_and_mean_are_in_order(lab: Any, worlds: Any) -> None:
    """In every validation table that the loop made, of classes with images and without."""
    import numpy as np

    from classwise.metrics import aggregates

    tables = 0
    for classes in CLASSES:
        for name in ("best-sum", "last"):
            run = worlds.of(classes, norm=0).run({"selection": lab.component("selection", name)})
            for epoch in run.history:
                table = epoch["validation"]["raw"]
                n = np.array(table["n"])
                right = np.round(np.nan_to_num(np.array(table["robust"], dtype=float)) * n).astype(int)
                worst, fifth, mean, best = (
                    each(right, n).value
                    for each in (
                        aggregates.worst_class,
                        aggregates.worst_share,
                        aggregates.mean_over_classes,
                        aggregates.best_class,
                    )
                )
                assert worst <= fifth + 1e-12 <= mean + 2e-12 <= best + 3e-12
                tables += 1
    assert tables == 2 * 2 * len(CLASSES)
