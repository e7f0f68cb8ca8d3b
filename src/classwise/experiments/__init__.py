"""The papers' tables as experiments: what is trained and measured for every cell, in three sizes."""

from classwise.experiments.base import Column, Experiment, Row, Training
from classwise.experiments.index import experiment, names

__all__ = ["Column", "Experiment", "Row", "Training", "experiment", "names"]
