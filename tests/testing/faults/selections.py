"""Selection rules with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import random

from classwise import Selection, config, register

FORGOTTEN = {"calls": 0}


@register("selection", "fault-no-score")
@config
class NoScore(Selection):
    """No score.

    check: complete
    seen: NoScore has no score of its own
    mend: write def score(self, table, epoch)
    """


@register("selection", "fault-an-estimate")
@config
class AnEstimate(Selection):
    """An estimate.

    check: score
    seen: the score is Estimate
    mend: return a float
    """

    def score(self, table, epoch):
        return table.worst


@register("selection", "fault-nan")
@config
class Nan(Selection):
    """Nan.

    check: score
    seen: with a class without images the score is nan
    mend: leave classes without samples out
    """

    def score(self, table, epoch):
        return table.robust.min()


@register("selection", "fault-the-first-class")
@config
class TheFirstClass(Selection):
    """The first class.

    check: permutes
    seen: in another order the score is
    mend: the worst class
    """

    def score(self, table, epoch):
        return 0.0 if table.n[0] == 0 else table.robust[0]


@register("selection", "fault-a-lottery")
@config
class ALottery(Selection):
    """A lottery.

    check: repeatable
    seen: drew from Python's global random generator
    """

    def score(self, table, epoch):
        return random.random()


@register("selection", "fault-a-counter")
@config
class ACounter(Selection):
    """A counter.

    check: repeatable
    seen: scored twice it gave
    """

    def score(self, table, epoch):
        FORGOTTEN["calls"] += epoch == 9
        return FORGOTTEN["calls"] + table.worst.value
