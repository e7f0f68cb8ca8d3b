"""Repairs without training, for ``classwise finetune``: the null model beside which a method that trains has to show its gain.

No paper reports them under attack. They train nothing (0 epochs), except for the interpolation, which needs a repair to
interpolate with. For networks on other data than the digits, ``logit-bias`` and ``last-layer-scale`` take data, split,
radius, batch size and hardware of the run that is repaired, as every recipe does there. None hands out weights whose weakest
class is weaker on validation images than that of the start.
"""

from __future__ import annotations

from classwise.configuration import replace
from classwise.recipes.cifar10 import cifar10_prn18_pgd_at
from classwise.recipes.digits import digits_faal, digits_pgd_at
from classwise.registry import register
from classwise.repair import Interpolation, LastLayerScale, LogitBias
from classwise.selection import NoWorse
from classwise.training import TrainConfig


@register("recipe", "logit-bias")
def logit_bias() -> TrainConfig:
    """A bias per class, fitted on attacked validation images.

    Source: Menon et al. 2021 for logit adjustment; the fit is ours.
    """
    return replace(cifar10_prn18_pgd_at(), repair=LogitBias(), epochs=0, selection=NoWorse())


@register("recipe", "last-layer-scale")
def last_layer_scale() -> TrainConfig:
    """A factor per row of the last layer, fitted on attacked validation images.

    Source: Kang et al. 2020 for learnable weight scaling; the fit is ours.
    """
    return replace(cifar10_prn18_pgd_at(), repair=LastLayerScale(), epochs=0, selection=NoWorse())


@register("recipe", "digits-logit-bias")
def digits_logit_bias() -> TrainConfig:
    """logit-bias on the digits."""
    return replace(digits_pgd_at(), repair=LogitBias(), epochs=0, selection=NoWorse())


@register("recipe", "digits-last-layer-scale")
def digits_last_layer_scale() -> TrainConfig:
    """last-layer-scale on the digits."""
    return replace(digits_pgd_at(), repair=LastLayerScale(), epochs=0, selection=NoWorse())


@register("recipe", "digits-interpolation")
def digits_interpolation() -> TrainConfig:
    """digits-faal, and then the weights between its start and its selected epoch that validation images like best.

    Source: Wortsman et al. 2022 (WiSE-FT) for the interpolation.
    """
    return replace(digits_faal(), repair=Interpolation())
