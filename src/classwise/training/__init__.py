"""Training: configuration, optimisers, schedules, the step and the loop."""

from classwise.training.config import TrainConfig
from classwise.training.optimizer import SGD, Adam, Optimizer
from classwise.training.runtime import Hardware, Runtime
from classwise.training.schedule import Constant, Cosine, OneCycle, Schedule, Steps

__all__ = [
    "SGD",
    "Adam",
    "Constant",
    "Cosine",
    "Hardware",
    "OneCycle",
    "Optimizer",
    "Runtime",
    "Schedule",
    "Steps",
    "TrainConfig",
]
