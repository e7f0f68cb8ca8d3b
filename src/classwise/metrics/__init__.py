"""Class-wise metrics from per-sample outcomes: tables, summaries, intervals and paired comparisons."""

from classwise.metrics.aggregates import (
    best_class,
    gap,
    mean_over_classes,
    mean_over_samples,
    standard_deviation,
    worst_class,
    worst_share,
)
from classwise.metrics.class_table import ClassTable, class_table
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import clopper_pearson, clopper_pearson_bounds, simultaneous, wilson
from classwise.metrics.paired import PairedMean, PairedTable, compare_pairs

__all__ = [
    "ClassTable",
    "Estimate",
    "PairedMean",
    "PairedTable",
    "best_class",
    "class_table",
    "clopper_pearson",
    "clopper_pearson_bounds",
    "compare_pairs",
    "gap",
    "mean_over_classes",
    "mean_over_samples",
    "simultaneous",
    "standard_deviation",
    "wilson",
    "worst_class",
    "worst_share",
]
