"""Where a paper and its published code disagree, or where both leave something open: 45 places, and what is done here.

``docs/presets.md`` is made of this list and of the presets themselves. Figures after "paper" are printed in the text,
those after "code" are in the revision that the recipe's module names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Disagreement:
    """One of them.

    Args:
        number: 1 to 45.
        about: What the sources say.
        ours: What the recommended recipe does, or what is done instead of a setting.
        recipe: A recipe whose presets show it; empty where no configuration expresses it.
        keys: Dotted keys in that recipe's configuration.
        apart: Whose values differ there: those of the two presets ("sources"), or the recommended one from every
            preset there is ("ours").
    """

    number: int
    about: str
    ours: str
    recipe: str = ""
    keys: tuple[str, ...] = ()
    apart: Literal["sources", "ours"] = "sources"


_WEIGHTS, _MARGIN = "policy.members.0.", "policy.members.1."

DISAGREEMENTS: dict[str, tuple[Disagreement, ...]] = {
    "FRL": (
        Disagreement(
            1,
            "Rate of the boundary multiplier: paper 0.05, that of the clean one; code 0.1, twice it.",
            "As printed.",
            "frl-rmrw",
            (_WEIGHTS + "rate_boundary",),
        ),
        Disagreement(
            2,
            "Rate of the radius: paper 0.05; code 0.2 and a factor 2 in the exponent.",
            "As printed; the key is the whole coefficient.",
            "frl-rmrw",
            (_MARGIN + "rate",),
        ),
        Disagreement(
            3,
            "Eq. 11 compares the boundary error with the slack, text and code compare its excess over the average with it.",
            "The average is subtracted, otherwise nearly every radius grows in every epoch.",
            "frl-rmrw",
            (_MARGIN + "relative",),
        ),
        Disagreement(
            4,
            "Limits of the radius: paper at most 16/255, twice the threat's; code 0.98 to 3 times (in an old file 2.5).",
            "1 to 2 times: no class is trained against less than the threat.",
            "frl-rmrw",
            (_MARGIN + "low", _MARGIN + "high"),
        ),
        Disagreement(
            5,
            "Paper multiplies the limited radius; code accumulates an exponent that may run beyond the limits.",
            "What is accumulated stays within the limits.",
            "frl-rmrw",
            (_MARGIN + "windup",),
        ),
        Disagreement(
            6,
            "Multipliers: algorithm 1 neither projects nor caps them; code keeps them at 0 or above and their sum at 0.5 or below.",
            "As in the code.",
            "frl-rmrw",
            (_WEIGHTS + "update", _WEIGHTS + "cap"),
        ),
        Disagreement(
            7,
            "Divisor of the loss: paper plain sums; code the sum of weights of each term (in an old file of both together).",
            "As in the code.",
            "frl-rmrw",
            (_WEIGHTS + "normalise",),
        ),
        Disagreement(
            8,
            "Decay of the rates: paper a tenth every 40 epochs; code halves that of the weights from its 40th on, the other stays.",
            "As printed.",
            "frl-rmrw",
            (_WEIGHTS + "rate_decay", _WEIGHTS + "decay_epochs", _MARGIN + "decay_epochs"),
        ),
        Disagreement(
            9,
            "Attack step under enlarged radii: a quarter of the largest in the batch, or (in an old file) of the threat's.",
            "Of the largest in the batch; 'sample' would be a quarter of each image's own radius.",
            "frl-rm",
            ("adversary.step_from",),
        ),
        Disagreement(
            10,
            "Slack: paper 0.05 or 0.07; code 0.07 or 0.1. Beta: none in eq. 9, that is 1; code 1.5. Epochs: 120 or 40 (FAAL: 80).",
            "Slack 0.05, beta 1.5, 120 epochs.",
            "frl-rmrw",
            (_WEIGHTS + "slack_clean", _MARGIN + "slack_boundary", "objective.beta", "epochs"),
        ),
        Disagreement(
            11,
            "The first version prints the clean error in the robust constraint; the text says remargin replaces step 7.",
            "Both are read as slips: the robust error is meant, and step 8.",
        ),
        Disagreement(
            12,
            "The clean error of 'cat' is 32.8, 33.8 and 34.8 in one paper; both versions report different baselines.",
            "Reported figures are compared within one table only.",
        ),
    ),
    "CFA": (
        Disagreement(
            13,
            "Average: paper decay 0.85, threshold 0.2, from epoch 50; code 0.88, 0.24 (README 0.2), from epoch 0.",
            "As printed.",
            "cfa-at",
            ("averaging.decay", "averaging.threshold", "averaging.start"),
        ),
        Disagreement(
            14,
            "Class-wise values begin in the second epoch (paper) or in epoch 10 (code).",
            "Epoch 10: the first accuracies are noise.",
            "cfa-at",
            ("policy.begin",),
        ),
        Disagreement(
            15,
            "Offset of the radius: paper 0.5, 0.3 for TRADES, 0.7 for friendly training; code 0.5 by default for all.",
            "As printed.",
            "cfa-trades",
            (_WEIGHTS + "offset",),
        ),
        Disagreement(
            16,
            "Algorithm 1 computes the class's beta from the radius, eq. 7 from beta.",
            "Eq. 7, as in the code.",
        ),
        Disagreement(
            17,
            "The TRADES baseline: the code divides its loss by 1 + beta, the text does not.",
            "The baseline is not divided; with class-wise regularisation it is, as in eq. 8.",
            "cfa-plain-trades",
            ("objective.divided",),
        ),
        Disagreement(
            18,
            "Training accuracy of a class: code divides by N/K; both use logits of the training step.",
            "Divided by the class's own samples; logits of the training step.",
            "cfa-at",
            ("policy.counts",),
        ),
        Disagreement(
            19,
            "The code picks its checkpoint on test images in the second half of training.",
            "Validation images decide; the preset keeps those checkpoints, so that the test-picked row can be audited.",
            "cfa-at",
            ("keep_epochs",),
        ),
        Disagreement(
            20,
            "Gate: 'higher than' the threshold in the text, at least as high in algorithm 1 and code.",
            "At least as high, judged by the raw weights on validation images.",
        ),
        Disagreement(
            21,
            "The code attacks in train mode (not with TRADES), so that the attack's images feed BatchNorm; the text is silent.",
            "Attacks run in eval mode.",
            "cfa-at",
            ("adversary.bn_mode",),
        ),
        Disagreement(
            22,
            "CFA reports little gain of FRL over TRADES with an average, FAAL a large one.",
            "The starts differ (PreActResNet-18, wide ResNet-34): the two tables are not mixed.",
        ),
    ),
    "FAAL": (
        Disagreement(
            23,
            "Attacks begin at the image (algorithm 1) or as in the base method (code).",
            "As in the base method.",
            "faal-at",
            ("adversary.start",),
        ),
        Disagreement(
            24,
            "Algorithm 1 clips to the box after the last step, the code after every step.",
            "After every step.",
            "faal-at",
            ("adversary.box",),
        ),
        Disagreement(
            25,
            "Class scores: means (eq. 7); the code's objective sums over samples, and absent classes take part.",
            "Means over the classes present.",
            "faal-at",
            ("policy.scores", "policy.missing"),
        ),
        Disagreement(
            26,
            "The ball is the divergence KL from uniform to the weights, in nats, in text, theorem and code alike.",
            "The same; policy.direction 'forward' is the divergence from the weights to uniform.",
        ),
        Disagreement(
            27,
            "The code's own defaults differ from its README: 2 steps or 10, rate 0.1 or 0.01, 110 epochs or 2, tau 1 or 0.5.",
            "As in the README and the text, in all presets.",
        ),
        Disagreement(
            28,
            "The margin that scores a class is called a CW loss of the network, and defined on probabilities.",
            "Probabilities, so that a score lies in [-1, 1].",
        ),
        Disagreement(
            29,
            "With MART the code attacks the divergence, MART itself the cross-entropy.",
            "MART's own attack.",
            "faal-mart",
            ("adversary.loss",),
        ),
        Disagreement(
            30,
            "Neither code for training from scratch and CIFAR-100 is published, nor the average's decay and AWP's gamma there.",
            "Decay 0.85 and gamma 0.005 are assumptions; no published-code preset of faal-at-scratch.",
        ),
        Disagreement(
            31,
            "Gamma of the perturbed weights: AWP's paper 0.01, FAAL's code 0.005; its direction ignores the class weights.",
            "As in the code.",
            "faal-at-awp",
            ("perturbation.gamma",),
        ),
        Disagreement(
            32,
            "The loss is scaled by the number of all classes, also where some are missing from the batch.",
            "By the number present: tau 0 is then the base method.",
            "faal-at",
            ("policy.normaliser",),
            "ours",
        ),
        Disagreement(
            33,
            "Best AutoAttack figures (text), or the best on the first 2,560 test images (code; its scripts the best worst class).",
            "Validation images decide; the preset keeps every checkpoint, so that the test-picked row can be audited.",
            "faal-at",
            ("selection.name", "keep_every"),
        ),
        Disagreement(
            34,
            "The code solves a convex program per batch, with two further solvers where one fails.",
            "Closed form, in all presets.",
        ),
    ),
    "WAT": (
        Disagreement(
            35,
            "The code divides costs by whole batches, a ragged last one counting as full; its weights have mean 2 at first.",
            "Class means over true counts, weights of mean 1.",
            "wat",
            ("policy.counted", "policy.normalise"),
            "ours",
        ),
        Disagreement(
            36,
            "The code takes exponentials of the costs directly, which overflow at some point.",
            "Exponents are shifted first, in all presets: the same weights.",
        ),
    ),
    "DAFA": (
        Disagreement(
            37,
            "The code does not weigh the divergence and scales steps by class; its attack for plain training adds a second step.",
            "As in the code, without that second step, which undoes the classes' radii.",
        ),
    ),
    "VAR": (
        Disagreement(
            38,
            "The code takes the variance over 100 slots, most of them empty; with TRADES too it attacks the cross-entropy.",
            "Over the classes present; the attack as in the code.",
            "var-at",
            ("objective.slots",),
            "ours",
        ),
    ),
    "FAT": (
        Disagreement(
            39,
            "Budget, rule and jitter of the friendly attack: its authors' 0 to 2 over the epochs, or in CFA's code 3 throughout.",
            "The authors' attack, also within CFA.",
            "cfa-fat",
            ("adversary.budget", "adversary.budget_epochs", "adversary.rule", "adversary.jitter"),
        ),
    ),
    "AWP": (
        Disagreement(
            40,
            "Gamma is 0.01 with adversarial training and 0.005 with TRADES.",
            "awp-at 0.01, awp-trades 0.005 from epoch 10 on.",
        ),
    ),
    "MART": (
        Disagreement(
            41,
            "Beta is 5 in the script for ResNet-18 and 6 in that for wide networks; learning rates differ as well.",
            "mart follows the former, faal-mart takes 6.",
        ),
    ),
    "all": (
        Disagreement(
            42,
            "The radius is written as 0.031 with steps of 0.007 (TRADES, MART, FAT, WAT, DAFA, VAR) or as 8/255 with 2/255.",
            "Each recipe keeps what its source writes.",
        ),
        Disagreement(
            43,
            "Crops are padded with zeros, in CFA's code with the mirrored image.",
            "Zeros.",
            "cfa-at",
            ("augmentation.mode",),
        ),
    ),
    "mixup": (
        Disagreement(
            44,
            "Two standard deviations may be swapped in the text, risks are on mixed images, evaluation is by one step only.",
            "No figure is quoted; validation is on images as they are, by ten steps.",
        ),
    ),
    "SVHN": (
        Disagreement(
            45,
            "Learning rate 0.01 in the code of ROF and AWP, 0.1 for all data sets in FRL.",
            "No recipe is on SVHN yet.",
        ),
    ),
}
"""By paper or method, in the order of their numbers; "all": several of them."""
