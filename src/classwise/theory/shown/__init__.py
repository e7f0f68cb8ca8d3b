"""The papers' models and figures, by name."""

from classwise.theory.shown.base import CurvesFigure, Panel, Row, TheoryFigure, TheoryModel
from classwise.theory.shown.cfa_figure import CFAFigure1
from classwise.theory.shown.faal import FAAL
from classwise.theory.shown.frl_arxiv import FRLv1
from classwise.theory.shown.frl_figure2 import FRLFigure2
from classwise.theory.shown.frl_icml import FRLICML
from classwise.theory.shown.frontier_figure import FrontierFigure
from classwise.theory.shown.mixup import DomainMixup
from classwise.theory.shown.mixup_figures import MixupFigure1, MixupFigure2
from classwise.theory.shown.noisy_feature import CFA

__all__ = [
    "CFA",
    "FAAL",
    "FRLICML",
    "CFAFigure1",
    "CurvesFigure",
    "DomainMixup",
    "FRLFigure2",
    "FRLv1",
    "FrontierFigure",
    "MixupFigure1",
    "MixupFigure2",
    "Panel",
    "Row",
    "TheoryFigure",
    "TheoryModel",
]
