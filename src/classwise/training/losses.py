"""The objective's own terms on validation images, for policies that weigh classes by them."""

from __future__ import annotations

import torch
from torch import Tensor

from classwise.data import Batch, ClassData
from classwise.models.modes import buffers_kept, mode
from classwise.policies import KNOBS
from classwise.randomness import KeyedNoise
from classwise.training.observe import LOSSES, MEASURES, group_sums, membership
from classwise.training.step import Stepper


def validation_losses(stepper: Stepper, data: ClassData, epoch: int) -> dict[str, Tensor]:
    """Class means of the terms under the training attack at the base radius, neither mixed nor augmented, in eval mode.

    Random starts are keyed by seed, epoch and sample, so that they belong to no generator of the run.

    Args:
        stepper: The attack, the objective and the network.
        data: Validation images.
        epoch: The epoch just finished, -1 before the first.

    Returns:
        "validation_label_loss" and, where the objective has such a term, "validation_robust_loss": (G,) float64.
    """
    config, runtime, model = stepper.config, stepper.runtime, stepper.network.inner
    neutral = dict.fromkeys(KNOBS, torch.ones(data.num_groups, device=runtime.device))
    wanted = sorted(each for each in LOSSES if each.removesuffix("_loss") in config.objective.term_names)
    sums = {name: torch.zeros(data.num_groups, dtype=torch.float64) for name in wanted}
    with mode(model, training=False), buffers_kept(model):
        for start in range(0, len(data), config.batch_size):
            rows = slice(start, start + config.batch_size)
            x, y = data.batch(rows, runtime.device)
            group, index = data.groups[rows].to(runtime.device), data.index[rows].to(runtime.device)
            batch = Batch(runtime.layout(x), y, group, index, len(y), slice(None))
            info = stepper.info(batch, neutral)
            x_adv = batch.x
            if config.objective.attacked:
                x_adv = stepper.attack(batch, neutral, info, KeyedNoise(config.seed, index, epoch + 1), epoch)
            with torch.no_grad(), runtime.autocast():
                outputs = config.objective(model, batch.x, x_adv, y, info)
            member = membership(group, data.num_groups)
            for name in wanted:
                sums[name] += group_sums(MEASURES[name](outputs, y), member).cpu()
    count = torch.bincount(data.groups, minlength=data.num_groups).clamp_min(1)
    return {f"validation_{name}": total / count for name, total in sums.items()}
