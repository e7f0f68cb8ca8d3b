"""Exact results: worst-case class weights in a KL ball, and robust margins of linear models."""

from classwise.theory.kl_ball import attainable_range, optimality_gap, worst_case_weights
from classwise.theory.linear import boxed_robust_margin, robust_margin

__all__ = [
    "attainable_range",
    "boxed_robust_margin",
    "optimality_gap",
    "robust_margin",
    "worst_case_weights",
]
