"""Evaluation: per-sample outcomes, audits, paired comparisons. The only place where test images are read."""

from classwise.evaluation.collect import Evaluator
from classwise.evaluation.compare import Comparison, compare_audits
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import AuditResult

__all__ = ["AuditPlan", "AuditResult", "Comparison", "Evaluator", "Outcomes", "compare_audits"]
