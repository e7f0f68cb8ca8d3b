"""What a run will cost, from a few timed steps."""

from __future__ import annotations

import time

import torch

from classwise.averaging import NoAveraging
from classwise.data import Batch, Roles
from classwise.data.feeding import feed
from classwise.data.roles import roles_of
from classwise.evaluation.admission import check_model
from classwise.policies.base import all_knobs
from classwise.progress import default_progress
from classwise.training.config import TrainConfig
from classwise.training.meter import Meter
from classwise.training.observe import LOSSES, measured
from classwise.training.runtime import Runtime
from classwise.training.step import Network, Stepper

TIMED_STEPS = 2


def estimate(config: TrainConfig) -> str:
    """Steps and time of a run, in a sentence: reads the training images and times a few steps on this machine."""
    runtime = Runtime(config.hardware)
    roles = roles_of(config.data.load(), config.split)
    steps = -(-len(roles.train) // config.batch_size)
    with runtime.session(config.seed):
        seconds = _seconds_per_step(config, runtime, roles)
    total = forecast(config, roles, seconds / config.batch_size / _passes(config))
    return (
        f"{len(roles.train)} training and {len(roles.validation)} validation images; {config.epochs} epochs of {steps} "
        f"steps, {config.epochs * steps} in all; about {1000 * seconds:.0f} ms a step on {runtime.device} "
        f"({runtime.precision}), {spoken(total)} in all, validation included."
    )


def seconds_per_pass(config: TrainConfig, roles: Roles) -> float:
    """Time of one image's pass forward and backward through the network of a run, from a few timed steps."""
    runtime = Runtime(config.hardware)
    with runtime.session(config.seed):
        seconds = _seconds_per_step(config, runtime, roles)
    return seconds / min(config.batch_size, len(roles.train)) / _passes(config)


def forecast(config: TrainConfig, roles: Roles, per_pass: float) -> float:
    """Seconds of a run, validation included, where one image's pass takes ``per_pass`` seconds.

    Each epoch also attacks the validation images, once more for averaged weights; a repair does before the first one.
    """
    attack = _passes(config) - 1
    steps = -(-len(roles.train) // config.batch_size)
    training = config.epochs * steps * config.batch_size * (attack + 1)
    runs = config.epochs * (1 if isinstance(config.averaging, NoAveraging) else 2) + (1 if config.start else 0)
    validation = runs * len(roles.validation) * (config.validation_attack.forwards() + 2)
    validation += config.repair.passes() * len(roles.validation) * (config.validation_attack.forwards() + 2)
    if LOSSES & {*measured(config.policy.observes(), "validation")}:
        validation += config.epochs * len(roles.validation) * (attack + 2)
    return (training + validation) * per_pass


def spoken(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _passes(config: TrainConfig) -> int:
    """Passes of an image through the network in a step: those of the attack and one for the step."""
    return 1 + (config.adversary.forwards() if config.objective.attacked else 0)


def _seconds_per_step(config: TrainConfig, runtime: Runtime, roles: Roles) -> float:
    """Time of one step on random images, after one step to warm up."""
    data = roles.train
    network = config.model.build(data.num_classes, data.shape)
    check_model(network, roles.validation, torch.device("cpu"))
    inner = runtime.place(network).train()
    optimizer = config.optimizer.build(inner.parameters())
    generator = runtime.generator(0)
    source = feed(data, config.augmentation, runtime.device, config.hardware.feeding, config.hardware.workers)
    teacher = inner if config.objective.taught else None  # costs what a teacher of its size would
    stepper = Stepper(config, runtime, Network(inner, inner), optimizer, source, generator, generator, teacher)
    rows = torch.arange(min(config.batch_size, len(data)))
    x, y = data.batch(rows, runtime.device)
    group, index = data.groups[rows].to(runtime.device), data.index[rows].to(runtime.device)
    batch = Batch(x, y, group, index, len(rows), slice(None))
    state = config.policy.init(data.num_groups)
    knobs = all_knobs(config.policy, state, data.num_groups, runtime.device)
    meter = Meter(measured(config.policy.observes(), "train"), runtime)
    began = 0.0
    last = max(config.epochs - 1, 0)  # by when all that begins late has begun
    with default_progress().task("time a few steps", 1 + TIMED_STEPS) as advance:
        for i in range(1 + TIMED_STEPS):
            if i == 1:
                _wait(runtime)
                began = time.perf_counter()
            state = stepper(batch, knobs, state, last, meter)
            advance()
    _wait(runtime)
    return (time.perf_counter() - began) / TIMED_STEPS


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
