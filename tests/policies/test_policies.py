"""Policies as functions of vectors."""

from typing import Any

import pytest
import torch
from torch import Tensor

from classwise import ClassPolicy, config, registry
from classwise.policies import (
    KLDRO,
    KNOBS,
    BoundaryBudget,
    CalibratedRadius,
    CalibratedRegularisation,
    CalibratedTemperature,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Fixed,
    Hedge,
    SimilarityTransfer,
    Uniform,
    mean_one,
)
from classwise.policies.base import all_knobs
from classwise.training.observe import MEASURES, VALIDATION

GROUPS = 6
CPU = torch.device("cpu")
VALUES = (1.0, 0.5, 2.0, 1.5, 0.0, 3.0)
PERMUTATION = torch.tensor([4, 2, 0, 5, 1, 3])

# Every registered policy with settings that act within three epochs; each is the same after the groups are permuted.
SETTINGS: dict[str, list[ClassPolicy]] = {
    "boundary-budget": [BoundaryBudget(begin=1)],
    "calibrated-radius": [CalibratedRadius(begin=2), CalibratedRadius(begin=1, offset=0.3, counts="balanced")],
    "calibrated-regularisation": [CalibratedRegularisation(begin=2), CalibratedRegularisation(begin=1, beta=1)],
    "calibrated-temperature": [CalibratedTemperature(), CalibratedTemperature(rate=0.4, drops=(2,))],
    "combined": [Combined(members=(KLDRO(tau=0.2), CalibratedRadius(begin=0)))],
    "constraint-remargin": [ConstraintRemargin(rate=0.5), ConstraintRemargin(rate=0.5, windup=True, average="classes")],
    "constraint-reweight": [ConstraintReweight(), ConstraintReweight(update="free", cap=0, relative=False)],
    "error-reweight": [ErrorReweight(rate=0.5), ErrorReweight(rule="best-response")],
    "hedge": [Hedge(), Hedge(counted="batches", normalise=False)],
    "kl-dro": [
        KLDRO(),
        KLDRO(score="error", scores="sample-sums", missing="minus-one", normaliser="all"),
        KLDRO(tau=0, direction="forward", stage_epochs=(1, 2), stage_taus=(0.3, float("inf"))),
    ],
    "similarity-transfer": [SimilarityTransfer(warmup=1), SimilarityTransfer(warmup=2, strength=0.5)],
    "uniform": [Uniform()],
}
# As it stands before and after; only Fixed is written per group.
EXAMPLES: dict[str, list[tuple[ClassPolicy, ClassPolicy]]] = {
    "fixed": [
        (
            Fixed(radius=VALUES, weight=VALUES[::-1]),
            Fixed(radius=tuple(VALUES[i] for i in PERMUTATION), weight=tuple(VALUES[::-1][i] for i in PERMUTATION)),
        )
    ],
    **{name: [(policy, policy) for policy in policies] for name, policies in SETTINGS.items()},
}
CASES = [(name, before, after) for name, pairs in EXAMPLES.items() for before, after in pairs]


def statistics(epoch: int, seed: int, order: Tensor, absent: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """All statistics there are, some groups without samples, permuted: entry i belongs to group order[i]."""
    generator = torch.Generator().manual_seed(seed)
    stats = {}
    for when in ("train", "batch", "validation"):
        for measure in MEASURES if when != "validation" else VALIDATION:
            shape = (GROUPS, GROUPS) if measure == "probabilities" else (GROUPS,)
            stats[f"{when}_{measure}"] = torch.rand(shape, generator=generator, dtype=torch.float64)
        stats[f"{when}_count"] = torch.randint(1, 50, (GROUPS,), generator=generator).double()
        for group in absent:
            for measure in [*MEASURES, "count"]:
                if f"{when}_{measure}" in stats:
                    stats[f"{when}_{measure}"][group] = 0
    # Probabilities are of classes, which are the groups: their columns are permuted as well.
    permuted = {name: value[order] if value.dim() == 1 else value[order][:, order] for name, value in stats.items()}
    return permuted | {"epoch": torch.tensor(epoch)}


def drive(policy: ClassPolicy, order: Tensor) -> list[Tensor]:
    """All knobs and batch weights over three epochs of two batches, one of which lacks groups."""
    state = policy.on_start(policy.init(GROUPS), statistics(-1, 0, order))
    seen = []
    for epoch in range(3):
        seen += all_knobs(policy, state, GROUPS, CPU).values()
        for batch, absent in enumerate([(), (1, 4)]):
            weights, state = policy.on_batch(state, statistics(epoch, 10 * epoch + batch, order, absent))
            seen.append(torch.ones(GROUPS) if weights is None else weights)
        state = policy.on_epoch(state, statistics(epoch, 100 + epoch, order, absent=(2,) if epoch == 1 else ()))
    return seen + list(all_knobs(policy, state, GROUPS, CPU).values())


def test_every_registered_policy_has_an_example() -> None:
    ours = [
        name for name in registry.names("policy") if registry.get("policy", name).__module__.startswith("classwise.")
    ]
    assert sorted(EXAMPLES) == ours
    assert len(ours) == 13
    assert len(CASES) == 23


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_permuting_the_groups_permutes_the_knobs(name: str, before: ClassPolicy, after: ClassPolicy) -> None:
    assert before.registered_name == name
    straight, permuted = drive(before, torch.arange(GROUPS)), drive(after, PERMUTATION)
    assert len(straight) == len(permuted) == 4 * len(KNOBS) + 6
    for one, other in zip(straight, permuted, strict=True):
        exact = 1e-9 if one.dtype == torch.float64 else 1e-6  # knobs come in float32
        assert torch.allclose(one[PERMUTATION].double(), other.double(), rtol=0, atol=exact)
    varied = [float(each.double().std()) > 1e-3 for each in straight]
    assert any(varied) == (name != "uniform")  # otherwise there is nothing to permute


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_a_policy_is_a_pure_function(name: str, before: ClassPolicy, after: ClassPolicy) -> None:
    order = torch.arange(GROUPS)
    assert all(torch.equal(*pair) for pair in zip(drive(before, order), drive(before, order), strict=True))
    state = before.init(GROUPS)
    kept = {key: value.clone() for key, value in state.items()}
    before.on_epoch(state, statistics(20, 1, order))
    before.on_batch(state, statistics(20, 1, order))
    assert state.keys() == kept.keys()
    assert all(torch.equal(state[key], kept[key]) for key in kept)


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_only_what_is_needed_is_read(name: str, before: ClassPolicy, after: ClassPolicy) -> None:
    """With nothing but the declared statistics the result is the same."""
    order = torch.arange(GROUPS)
    needs = before.observes() | {"epoch"}

    def only(stats: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in stats.items() if key in needs}

    state = before.init(GROUPS)
    full, part = (before.on_epoch(state, pick(statistics(20, 1, order))) for pick in (dict, only))
    assert all(torch.equal(full[key], part[key]) for key in full)
    full_weights, part_weights = (before.on_batch(state, pick(statistics(20, 2, order)))[0] for pick in (dict, only))
    assert (full_weights is None and part_weights is None) or torch.equal(full_weights, part_weights)


class TestCalibratedRadius:
    def stats(self, epoch: int, robust: list[float], count: list[int]) -> dict[str, Tensor]:
        return {
            "epoch": torch.tensor(epoch),
            "train_robust": torch.tensor(robust, dtype=torch.float64),
            "train_count": torch.tensor(count, dtype=torch.float64),
        }

    def test_formula_begin_and_absent_class(self) -> None:
        policy = CalibratedRadius(offset=0.3, begin=2)
        state = policy.init(3)
        assert policy.knobs(state)["radius"].tolist() == [1, 1, 1]
        state = policy.on_epoch(state, self.stats(0, [0.1, 0.2, 0.3], [5, 5, 5]))
        assert policy.knobs(state)["radius"].tolist() == [1, 1, 1]  # epoch 1 is before begin
        state = policy.on_epoch(state, self.stats(1, [0.1, 0.9, 0.0], [5, 5, 0]))
        assert policy.knobs(state)["radius"].tolist() == pytest.approx([0.4, 1.2, 1.0])
        state = policy.on_epoch(state, self.stats(2, [0.5, 0.0, 0.6], [5, 0, 5]))
        assert policy.knobs(state)["radius"].tolist() == pytest.approx([0.8, 1.2, 0.9])  # from the base, not cumulative

    def test_begin_zero_is_neutral_before_anything_is_known(self) -> None:
        policy = CalibratedRadius(begin=0)
        assert policy.knobs(policy.init(2))["radius"].tolist() == [1, 1]
        state = policy.on_epoch(policy.init(2), self.stats(0, [0.5, 1.0], [3, 3]))
        assert policy.knobs(state)["radius"].tolist() == [1.0, 1.5]


@config
class OtherReducer(ClassPolicy):
    reducer = "weight-sum"


@config
class MeanReducer(ClassPolicy):
    reducer = "mean"


class TestCombined:
    def test_it_multiplies_knobs_and_batch_weights(self) -> None:
        policy = Combined(
            members=(Fixed(radius=(2, 3), label=(1, 5)), KLDRO(tau=0.2), KLDRO(tau=0.1), Fixed(radius=(5, 7)))
        )
        state = policy.init(2)
        knobs = all_knobs(policy, state, 2, CPU)
        assert knobs["radius"].tolist() == [10, 21]
        assert knobs["label"].tolist() == [1, 5]
        assert knobs["weight"].tolist() == [1, 1]
        stats = {
            "epoch": torch.tensor(0),
            "batch_margin": torch.tensor([0.1, 0.7], dtype=torch.float64),
            "batch_count": torch.tensor([3.0, 3.0], dtype=torch.float64),
        }
        one, other = (KLDRO(tau=tau).on_batch({}, stats)[0] for tau in (0.2, 0.1))
        weights, _ = policy.on_batch(state, stats)
        assert torch.equal(weights, one * other)  # type: ignore[arg-type, operator]

    def test_states_of_equal_members_do_not_mix(self) -> None:
        policy = Combined(members=(CalibratedRadius(begin=0, offset=0.5), CalibratedRadius(begin=5)))
        stats = {
            "epoch": torch.tensor(0),
            "train_robust": torch.tensor([0.2, 0.6], dtype=torch.float64),
            "train_count": torch.ones(2, dtype=torch.float64),
        }
        state = policy.on_epoch(policy.init(2), stats)
        assert policy.knobs(state)["radius"].tolist() == pytest.approx([0.7, 1.1])  # the second is still neutral

    def test_needs_are_joined(self) -> None:
        policy = Combined(members=(CalibratedRadius(), KLDRO(score="error"), Uniform()))
        assert policy.observes() == {"train_robust", "train_count", "batch_error", "batch_count"}

    def test_two_different_reducers_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"reduce the loss in different ways \(weight-sum, mean\)"):
            Combined(members=(OtherReducer(), Uniform(), MeanReducer()))
        assert Combined(members=(OtherReducer(), Uniform(), OtherReducer())).reduction() == "weight-sum"
        with pytest.raises(ValueError, match="needs members"):
            Combined(members=())


def test_fixed_needs_one_value_per_group() -> None:
    with pytest.raises(ValueError, match=r"policy\.radius has 3 values: give one for each of the 4 groups"):
        Fixed(radius=(1, 2, 3)).init(4)
    assert Fixed(radius=(1, 2, 3)).init(3)["radius"].tolist() == [1, 2, 3]


@config
class Wrong(ClassPolicy):
    knob: str = "radius"
    values: tuple[float, ...] = (1.0, 1.0)

    def knobs(self, state: Any) -> dict[str, Tensor]:
        return {self.knob: torch.tensor(self.values)}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Wrong(knob="radii"), "unknown knob 'radii'"),
        (Wrong(values=(1.0,)), "one value per group"),
        (Wrong(values=(1.0, float("nan"))), "finite values of at least 0"),
        (Wrong(values=(1.0, -0.1)), "finite values of at least 0"),
    ],
)
def test_wrong_knobs_are_refused(policy: ClassPolicy, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        all_knobs(policy, {}, 2, CPU)


def test_mean_one() -> None:
    assert mean_one(torch.tensor([1.0, 2.0, 3.0])).tolist() == [0.5, 1.0, 1.5]
