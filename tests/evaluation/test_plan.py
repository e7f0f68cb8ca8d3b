"""The digest by which an audit is found again."""

from typing import Any

from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.evaluation.plan import AuditPlan
from classwise.threat import ThreatModel, l2, linf

PLAN = AuditPlan(
    model="my model",
    data="digits",
    split="test",
    data_sha256="0" * 64,
    samples=100,
    class_names=("a", "b"),
    threats=(linf("8/255"), l2("0.5")),
    attacks=(PGD(steps=20),),
    seed=0,
    batch_size=256,
)


def test_a_plain_plan_has_the_digest_it_had_before_balls_had_forms() -> None:
    """Taken from the version before threat models had channels and box; folders of earlier audits are named by it."""
    assert PLAN.key() == "c0bcdb5a"


def test_plans_that_differ_have_digests_that_differ() -> None:
    def with_threat(**fields: Any) -> str:
        return replace(PLAN, threats=(ThreatModel(radius="8/255", **fields), PLAN.threats[1])).key()

    keys = [PLAN.key(), with_threat(box=False), with_threat(channels=(0.2,)), with_threat(channels=(0.2,), box=False)]
    keys += [replace(PLAN, seed=1).key(), replace(PLAN, threats=PLAN.threats[:1]).key()]
    assert len(set(keys)) == len(keys)
    assert with_threat(channels=()) == PLAN.key()
