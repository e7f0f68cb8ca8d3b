"""What is assumed in several of the experiments of FRL (Xu et al., ICML 2021)."""

from __future__ import annotations

CODE = "hannxu123/fair_robust a80547d"
HELD_OUT = "Every network holds out FRL's 300 images of each class, also where nothing is repaired."
ON_PRN18 = (
    "PGD training on CIFAR-10 (84.5 / 43.6 in table 2) is like CFA's at the last epoch (84.1 / 43.0), not the best (82.3 / 46.7).",
    "PreActResNet-18 has no BatchNorm and ReLU before the pooling, as in the code; the text does not say.",
)
DEPARTED = (
    "The printed rows of FRL are measured of our mixture of text and code, which departs from algorithm 1 as follows.",
    "Multipliers stay at 0 or above (eq. 10), their sum at 0.5 or below (code); algorithm 1 neither projects nor limits them.",
    "They train for all 120 epochs, as section 5.1 has it; algorithm 1 stops once all constraints hold.",
    "Their boundary term counts 1.5 times (code); in eq. 9 it counts once.",
    "Their radii follow the boundary error less the average and tau, as the text and the code do; eq. 11 subtracts no average.",
    "The rows as printed are ours: algorithm 1, eq. 9 and eq. 11 to the letter, with tau 0.07 and radii up to 16/255.",
    "In them a weight that would fall below 0 is 0, since it would raise the loss of its class.",
)
ON_SVHN = (
    "SVHN is not augmented; the paper does not say.",
    "The learning rate on SVHN is the 0.1 that the text gives for every data set; others use 0.01, as 0.1 may not start.",
)
ON_WIDE = ("WRN28 is ten times as wide, as in the code; the text does not say.",)
BETA = "The beta of TRADES is not said: 6."
HURT = (
    "How much hard classes are hurt is ours: the rank correlation over classes of clean error after natural training with a rise.",
    "The robust error falls; there a correlation above 0 means that it falls less in hard classes.",
)
OF_TEN = "How much hard classes are hurt is over all ten classes, of which the table shows four."
RELEASED = (
    "The row as released is ours: the code with its 40 epochs, rates and limits.",
    "Its network and radius are those of its start, PreActResNet-18 and 8/255, as in the code.",
    "So are its held-out images, 300 of each class drawn at random; the code holds out the last 300.",
)
