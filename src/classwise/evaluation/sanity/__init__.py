"""Is this number believable? Each check gives pass, warn or fail, one sentence, and a section of docs/believable.md.

One fault is reported once: a check whose failure would follow from that of another (see ``verdicts.CAUSES``) says so
and is not judged.
"""

from classwise.evaluation.sanity.checks import cheap_checks, full_checks, outcome_checks

__all__ = ["cheap_checks", "full_checks", "outcome_checks"]
