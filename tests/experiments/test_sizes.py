"""Shortened trainings: the schedule moves in proportion, and every mechanism acts in at least half of the epochs."""

import dataclasses
import typing

import pytest

import classwise as cw
from classwise import registry
from classwise.configuration import replace, to_plain
from classwise.experiments import experiment, names
from classwise.experiments.sizes import BEGINS, EPOCHS, SIZES, at_epochs, begins, paper, short, small
from classwise.policies import KLDRO, CalibratedRadius, Combined, ConstraintReweight
from classwise.recipes import recipe

TRAININGS = {each.name: each.config for name in names() for each in experiment(name).trainings()}
OTHERS = {"batch_size", "budget", "queries", "restarts", "slots", "steps", "targets"}
"""Whole numbers of components that are no epochs."""


@pytest.mark.parametrize("name", TRAININGS)
def test_every_mechanism_acts_in_half_of_the_epochs(name: str) -> None:
    for change in (small, short):
        config = change(TRAININGS[name])
        for mechanism, first in begins(config).items():
            assert config.epochs - first >= config.epochs / 2, (mechanism, first, config.epochs)


def test_what_acts_is_told_by_hand() -> None:
    assert begins(TRAININGS["faal-trades-awp"]) == {"kl-dro": 100, "epoch-ema": 100, "adversarial-weights": 0}
    assert begins(small(TRAININGS["faal-trades-awp"])) == {"kl-dro": 10, "epoch-ema": 10, "adversarial-weights": 0}
    assert begins(small(TRAININGS["cfa-trades"])) == {
        "calibrated-radius": 1,
        "calibrated-regularisation": 1,
        "gated-ema": 5,
    }
    assert begins(TRAININGS["wat-trades"]) == {"hedge": 1}
    assert begins(TRAININGS["trades"]) == {}
    assert begins(TRAININGS["wrn-trades-frl-rwrm-tau-0.05"]) == {"constraint-reweight": 0, "constraint-remargin": 0}
    assert begins(recipe("dafa")) == {"similarity-transfer": 70}
    assert begins(small(recipe("dafa"))) == {"similarity-transfer": 10}
    never = recipe("faal-at", policy=KLDRO(tau=0.0))
    assert begins(never) == {"kl-dro": never.epochs}


def test_epochs_move_in_proportion_and_lists_keep_their_order() -> None:
    config = at_epochs(recipe("faal-at-scratch"), 20)
    assert config.epochs == 20
    assert config.schedule.drops == (10, 15)
    assert (config.policy.stage_epochs, config.policy.stage_taus) == ((10, 15), (0.25, 0.5))
    assert config.averaging.start == 10
    shortest = at_epochs(recipe("faal-at-scratch"), 3)
    assert (shortest.policy.stage_epochs, shortest.schedule.drops, shortest.averaging.start) == ((1, 2), (2, 3), 1)
    assert at_epochs(recipe("fat"), 12).adversary.budget_epochs == (5, 9)
    kept = at_epochs(recipe("cfa-at-published-code"), 20)
    assert kept.keep_epochs == tuple(range(10, 21))
    members = (ConstraintReweight(decay_epochs=(39, 79, 119)), CalibratedRadius(begin=90))
    inner = at_epochs(recipe("digits-trades", epochs=120, policy=Combined(members=members)), 12).policy.members
    assert (inner[0].decay_epochs, inner[1].begin) == ((4, 8, 12), 6)


def total(policy: typing.Any, field: str, epochs: int) -> float:
    """Sum over the updates of a training of a rate that decays, computed epoch by epoch."""
    rates = (
        getattr(policy, field) * policy.rate_decay ** sum(epoch >= drop for drop in policy.decay_epochs)
        for epoch in range(epochs)
    )
    return sum(rates)


def test_what_accumulates_over_epochs_moves_faster_in_fewer_of_them() -> None:
    """Rates of FRL over training: 40 x 0.05 x 1.11 in 120 epochs of the text, and as much in 30 and about as much in 20."""
    whole = recipe("frl-rmrw").policy.members
    for change, tolerance in ((short, 1e-5), (small, 0.05)):
        members = change(recipe("frl-rmrw")).policy.members
        epochs = change(recipe("frl-rmrw")).epochs
        for before, after, field in zip(
            (whole[0], *whole), (members[0], *members), ("rate_clean", "rate_boundary", "rate"), strict=True
        ):
            assert total(before, field, 120) == pytest.approx(40 * 0.05 * 1.11)
            assert total(after, field, epochs) == pytest.approx(40 * 0.05 * 1.11, rel=tolerance)
    assert (members[0].rate_decay, members[0].cap, members[0].slack_clean) == (0.1, 0.5, 0.05)
    wat = TRAININGS["wat-trades"]
    assert small(wat).policy.rate == pytest.approx(wat.policy.rate * wat.epochs / 20)
    alone = recipe("baseline-reweight")
    assert short(alone).policy.rate == pytest.approx(4 * alone.policy.rate)
    assert small(small(wat)).policy == small(wat).policy
    no_clean = ConstraintReweight(rate_clean=0.0)
    assert at_epochs(recipe("frl-rw", policy=no_clean), 12).policy.rate_clean == 0
    assert small(recipe("faal-at-scratch")).optimizer == replace(recipe("faal-at-scratch").optimizer, lr=0.04)


def test_a_short_training_keeps_its_epochs() -> None:
    for change in (small, short):
        tuned = change(recipe("faal-at"))
        assert (tuned.epochs, tuned.schedule.drops) == (2, (1,))


def test_sizes_are_pure_and_paper_changes_nothing() -> None:
    for name, config in TRAININGS.items():
        before = to_plain(config)
        assert paper(config) is config
        assert small(config) == small(config)
        assert to_plain(config) == before, name
        assert short(config).model == config.model
        assert short(config).epochs <= 30
        assert small(config).data.registered_name == "digits"


def test_radii_keep_their_ratios_on_the_digits() -> None:
    wat = small(TRAININGS["wat-trades"])
    assert float(small(TRAININGS["trades"]).threat.radius) == pytest.approx(0.18)
    assert float(wat.threat.radius) / 0.18 == pytest.approx(0.031 / (8 / 255), rel=1e-5)
    assert float(wat.adversary.step_size) / float(wat.threat.radius) == pytest.approx(0.007 / 0.031, rel=1e-5)
    assert float(SIZES["small"].faced(cw.linf("4/255")).radius) == pytest.approx(0.09)
    assert SIZES["small"].faced(cw.l2(0.5)) == cw.l2(0.5)
    assert SIZES["paper"].faced(cw.linf("8/255")) == cw.linf("8/255")


def test_every_epoch_that_a_component_names_is_known() -> None:
    """A component with a new whole-number field must say here whether it is an epoch."""
    seen = 0
    for kind in ("policy", "averaging", "perturbation", "schedule", "attack", "mixing", "objective"):
        for name in registry.names(kind):
            component = registry.get(kind, name)
            hints = typing.get_type_hints(component)
            for field in dataclasses.fields(component):
                if hints[field.name] in (int, tuple[int, ...]):
                    assert field.name in {*BEGINS, *EPOCHS, *OTHERS}, (name, field.name)
                    seen += field.name in {*BEGINS, *EPOCHS}
    assert seen >= 12


def test_an_average_that_begins_nowhere_stays_as_it_is() -> None:
    config = recipe("digits-pgd-at", epochs=40)
    assert at_epochs(config, 10) == replace(config, epochs=10)
