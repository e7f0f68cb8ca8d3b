"""How numbers and conditions are written wherever they are shown."""

from __future__ import annotations

import math

from classwise.evaluation.plan import AuditPlan
from classwise.metrics import Estimate
from classwise.threat import ThreatModel

ABSENT = "–"
PRECISION = {"exact": "exact (fp32)", "mixed": "mixed (bf16 search, verdicts in fp32)"}


def percent(fraction: float) -> str:
    """A fraction as a number of per cent with one decimal; a dash for nan."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return ABSENT if math.isnan(fraction) else f"{round(100 * fraction, 1) + 0.0:.1f}"


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign; a dash for nan."""
    return ABSENT if math.isnan(difference) else f"{round(100 * difference, 1) + 0.0:+.1f}"


def limits(low: float, high: float) -> str:
    """An interval of fractions in per cent."""
    return f"[{percent(low)}, {percent(high)}]"


def p_value(value: float) -> str:
    """A p value with three decimals."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def level(confidence: float) -> str:
    """The level of an interval, such as "95 %"."""
    return f"{round(100 * confidence, 4):g} %"


def summary(estimate: Estimate) -> str:
    """An estimate with the name of its interval."""
    return f"{estimate} ({estimate.method})"


def conditions(plan: AuditPlan, threat: ThreatModel | None = None) -> str:
    """What an audit's figures hold for: images, threat model (default: all of the plan), attacks, seed, precision."""
    threats = ", ".join(str(each) for each in ([threat] if threat is not None else plan.threats))
    part = f", shard {plan.shard}" if plan.shard else ""
    return (
        f"{plan.data}/{plan.split}, n = {plan.samples}{part}, {threats}, {plan.suite}, seed {plan.seed}, "
        f"{PRECISION[plan.precision]}"
    )
