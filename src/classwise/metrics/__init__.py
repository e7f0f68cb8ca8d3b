"""Class-wise metrics from per-sample outcomes: tables, matrices, summaries, intervals, comparisons, sample sizes."""

from classwise.metrics.aggregates import best_class, gap, mean_over_classes, mean_over_samples, worst_class, worst_share
from classwise.metrics.boundary import BoundaryTable, boundary_error
from classwise.metrics.class_table import ClassTable, class_table
from classwise.metrics.equalised import EqualisedTable, equalised
from classwise.metrics.estimate import Estimate
from classwise.metrics.hard_classes import HardClasses, hurt_more
from classwise.metrics.intervals import clopper_pearson, clopper_pearson_bounds, simultaneous, wilson
from classwise.metrics.matrices import ClassMatrix, attack_target_matrix, confusion_matrix
from classwise.metrics.paired import PairedMean, PairedTable, compare_pairs
from classwise.metrics.planning import SamplePlan, sample_plan, samples_for_width, width_for_samples
from classwise.metrics.spread import gini, normalised_spread, standard_deviation
from classwise.metrics.symmetry import symmetric_gap

__all__ = [
    "BoundaryTable",
    "ClassMatrix",
    "ClassTable",
    "EqualisedTable",
    "Estimate",
    "HardClasses",
    "PairedMean",
    "PairedTable",
    "SamplePlan",
    "attack_target_matrix",
    "best_class",
    "boundary_error",
    "class_table",
    "clopper_pearson",
    "clopper_pearson_bounds",
    "compare_pairs",
    "confusion_matrix",
    "equalised",
    "gap",
    "gini",
    "hurt_more",
    "mean_over_classes",
    "mean_over_samples",
    "normalised_spread",
    "sample_plan",
    "samples_for_width",
    "simultaneous",
    "standard_deviation",
    "symmetric_gap",
    "width_for_samples",
    "wilson",
    "worst_class",
    "worst_share",
]
