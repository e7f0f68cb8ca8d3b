"""Repair of a robust network by constraints on class errors (FRL, ICML 2021), and the baseline it is compared with.

Each recipe fine-tunes: ``classwise finetune ROBUST_RUN --recipe frl-rmrw``. Data, split, network and radius then come from
that run. The variants hold what the text prints and what hannxu123/fair_robust a80547d runs; see docs/presets.md. The
paper repairs PreActResNet-18 and WRN-28; the network of its code has no BatchNorm and ReLU before the pooling. The
recommended recipes hand out the start where no epoch leaves the weakest class as strong as it was, on validation images;
the variants, ``frl-v1`` among them, keep the epoch that their rule likes best.
"""

from __future__ import annotations

from typing import Any

from classwise.attacks import PGD, attack_list
from classwise.configuration import replace
from classwise.data import Split
from classwise.models import PreActResNet18
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import ClassPolicy, Combined, ConstraintRemargin, ConstraintReweight, ErrorReweight
from classwise.recipes.cifar10 import cifar10_prn18_pgd_at
from classwise.registry import register
from classwise.selection import BestSum, NoWorse
from classwise.training import SGD, Steps, TrainConfig

OF_BATCH = PGD(steps=10, step_from="batch")
"""Steps of a quarter of the largest radius in the batch."""
FIXED = PGD(steps=10)
"""Steps of a quarter of the threat's radius, 2/255."""
PRINTED: dict[str, Any] = {"update": "free", "cap": 0.0, "normalise": "mean"}
"""Multipliers as in algorithm 1: no projection, no cap, plain sums of weighted losses."""
RELEASED: dict[str, Any] = {"rate_boundary": 0.1, "rate_decay": 0.5, "decay_epochs": (39, 79, 119)}
"""Multipliers in all files of the code: the boundary rate is twice the clean one, both are halved."""
MARGIN: dict[str, Any] = {"low": 0.98, "windup": True, "decay_epochs": ()}
"""The radius in all files of the code: what is accumulated runs beyond the limits, its rate stays."""


@register("recipe", "frl-rw")
def frl_rw() -> TrainConfig:
    """FRL (Reweight): heavier loss terms for classes whose clean or boundary error is too far above the average.

    Source: FRL section 4.2 and 5.1; reported errors with slack 0.05, average / worst class, clean 16.0 / 22.5 and robust
    57.6 / 73.3 (table 2; the PGD-AT start: 15.5 / 33.8 and 56.4 / 82.7).
    """
    return _repair(ConstraintReweight(), FIXED)


@register("recipe", "frl-rw-paper")
def frl_rw_paper() -> TrainConfig:
    """As printed in algorithm 1."""
    return _paper(frl_rw(), ConstraintReweight(stop=True, **PRINTED))


@register("recipe", "frl-rw-published-code")
def frl_rw_published_code() -> TrainConfig:
    """As released: slack 0.1 for both errors."""
    return _code(frl_rw(), ConstraintReweight(slack_clean=0.1, slack_boundary=0.1, **RELEASED))


@register("recipe", "frl-rm")
def frl_rm() -> TrainConfig:
    """FRL (Remargin): weights follow the clean error of a class, its radius the boundary error.

    Source: FRL section 4.3; reported errors with slack 0.05, average / worst class, clean 16.9 / 24.9 and robust 51.9 /
    75.5 (table 2). The text replaces step 7 of algorithm 1, which is about the clean error; step 8 must be meant.
    """
    return _repair(Combined(members=(ConstraintReweight(rate_boundary=0.0), ConstraintRemargin())), OF_BATCH)


@register("recipe", "frl-rm-paper")
def frl_rm_paper() -> TrainConfig:
    """As printed in eq. 11: every class whose boundary error exceeds the slack itself grows."""
    reweight = ConstraintReweight(rate_boundary=0.0, stop=True, **PRINTED)
    return _paper(frl_rm(), Combined(members=(reweight, ConstraintRemargin(relative=False, low=0.0))))


@register("recipe", "frl-rm-published-code")
def frl_rm_published_code() -> TrainConfig:
    """As released in a file that was deleted later: slack 0.1, beta 1, fixed steps, one divisor, radius up to 2.5 times."""
    slack: dict[str, Any] = {"slack_clean": 0.1, "slack_boundary": 0.1}
    reweight = ConstraintReweight(**slack, **RELEASED | {"rate_boundary": 0.0}, cap=0.3, normalise="joint-weight-sum")
    remargin = ConstraintRemargin(slack_boundary=0.1, rate=0.2, high=2.5, **MARGIN)
    members = Combined(members=(reweight, remargin))
    return replace(_code(frl_rm(), members, adversary=FIXED), objective=Trades(beta=1.0), epochs=120)


@register("recipe", "frl-rmrw")
def frl_rmrw() -> TrainConfig:
    """FRL (Reweight + Remargin): weights follow both errors, the radius the boundary error.

    Source: FRL sections 4 and 5.1; reported errors with slack 0.05, average / worst class, clean 17.0 / 26.8 and robust
    52.7 / 69.5 (table 2).
    """
    return _repair(Combined(members=(ConstraintReweight(), ConstraintRemargin())), OF_BATCH)


@register("recipe", "frl-rmrw-paper")
def frl_rmrw_paper() -> TrainConfig:
    """As printed in algorithm 1 and eq. 11."""
    members = (ConstraintReweight(stop=True, **PRINTED), ConstraintRemargin(relative=False, low=0.0))
    return _paper(frl_rmrw(), Combined(members=members))


@register("recipe", "frl-rmrw-published-code")
def frl_rmrw_published_code() -> TrainConfig:
    """As released: slack 0.07, the radius moves eight times as fast and up to 3 times."""
    reweight = ConstraintReweight(slack_clean=0.07, slack_boundary=0.07, **RELEASED)
    remargin = ConstraintRemargin(slack_boundary=0.07, rate=0.4, high=3.0, **MARGIN)
    return _code(frl_rmrw(), Combined(members=(reweight, remargin)))


@register("recipe", "frl-v1")
def frl_v1() -> TrainConfig:
    """FRL in the form of its first version (arXiv), option 3: no average is subtracted, no radius is limited.

    Source: Xu et al., arXiv version 1, algorithm 1 and section 5 (slack 0.05 and 0.07); rates and schedule are those of
    the ICML text. Reported errors, average / worst class, clean 18.4 / 24.7 and robust 58.7 / 70.2 (table 2, ResNet-18).
    """
    reweight = ConstraintReweight(slack_boundary=0.07, relative=False, stop=True, **PRINTED)
    remargin = ConstraintRemargin(slack_boundary=0.07, relative=False, low=0.0, high=float("inf"))
    return _paper(frl_rmrw(), Combined(members=(reweight, remargin)))


@register("recipe", "baseline-reweight")
def baseline_reweight() -> TrainConfig:
    """Adversarial training whose class weights follow the robust error on training images (after Agarwal et al.).

    Source: FRL section 5.1, one sentence; reported errors, average / worst class, clean 19.2 / 28.3 and robust 58.2 /
    80.1 (table 2). Here by exponentiated gradient. There is no published code.
    """
    return replace(_repair(ErrorReweight(), FIXED), objective=AdversarialTraining())


@register("recipe", "baseline-reweight-paper")
def baseline_reweight_paper() -> TrainConfig:
    """As printed: the cost of the worst class is raised (to twice that of the others, which the text does not say)."""
    return replace(baseline_reweight(), policy=ErrorReweight(rule="best-response"), selection=BestSum())


def _repair(policy: ClassPolicy, adversary: PGD) -> TrainConfig:
    """120 epochs at 0.001, divided by 10 every 40; 300 validation images of each class, judged by PGD-20."""
    return replace(
        cifar10_prn18_pgd_at(),
        split=Split(fraction=0, at_least=300),
        objective=Trades(beta=1.5),
        policy=policy,
        adversary=adversary,
        optimizer=SGD(lr=1e-3, weight_decay=5e-4),
        schedule=Steps(drops=(40, 80)),
        epochs=120,
        validation_attack=attack_list("pgd-20")[0],
        selection=NoWorse(),
    )


def _paper(config: TrainConfig, policy: ClassPolicy) -> TrainConfig:
    """Clean and boundary errors count alike in eq. 9."""
    return replace(config, policy=policy, objective=Trades(beta=1.0), selection=BestSum())


def _code(config: TrainConfig, policy: ClassPolicy, **changes: Any) -> TrainConfig:
    """40 epochs, the last images of each class held out, errors at the last iterate of the attack."""
    return replace(
        config,
        split=Split(fraction=0, at_least=300, choice="last"),
        model=PreActResNet18(final_norm=False),
        policy=policy,
        validation_attack=PGD(steps=20, loss="cross-entropy", start="uniform"),
        selection=BestSum(),
        epochs=40,
        **changes,
    )
