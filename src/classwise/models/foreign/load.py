"""Weights of another program put into a model: whole, or not at all."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from classwise.models.foreign.constants import check_normalisation, without_normalisation
from classwise.models.foreign.files import Weights, read_tensors
from classwise.models.foreign.names import origins
from classwise.models.wrapped import innermost

HINTS = (
    (
        "file",
        r"^sub_block\.",
        "The file keeps a copy of the first stage that no image passes: build with sub_block=true.",
    ),
    ("model", r"^sub_block\.", "The file keeps no unused copy of the first stage: build with sub_block=false."),
    ("file", r"^norm\.", "The file has BatchNorm before its head: build with final_norm=true."),
    ("model", r"^norm\.", "The file has no BatchNorm before its head: build with final_norm=false."),
    (
        "file",
        r"^layer\.0\.block\.0\.batchnorm_0\.",
        "These are the names of DeepMind's WideResNets, which compute something else: name it robustbench:MODEL.",
    ),
)
"""Side on which a tensor is left over, pattern of its name, and what that tells."""

_ROWS = 10
_NOTHING = "–"


def load_foreign(model: nn.Module, path: str | Path, weights: Weights | None = None, *, strict: bool = True) -> None:
    """Load a checkpoint that another program wrote, after renaming its tensors.

    All is checked before the model is touched. Where only one side has BatchNorm's ``num_batches_tracked``
    (which evaluation does not use), the model keeps its own. Mean and standard deviation in the file must be those of the
    model.

    Names and shapes do not tell everything. RobustBench's Wong2020Fast and Andriushchenko2020Understanding have the tensors
    of a PreActResNet-18 but take its shortcuts before the activation, and CFA, FAAL and the PGD-AT of AWP normalise
    images outside the network: after loading, compare the clean accuracy with the published one.

    Args:
        model: Receives the weights. Of a :class:`Normalized` model (or one that resizes) the inner network does.
        path: See :func:`read_tensors`.
        weights: See :func:`read_tensors`.
        strict: Whether every tensor must fit. Otherwise those that fit are loaded, and a warning lists the others; for
            weights to train on from, such as with a head for other classes.

    Raises:
        ValueError: The file cannot be read safely, or its tensors are not those of the model (with ``strict``: all of
            them; without: any of them).
    """
    target = innermost(model)
    tensors, stated = without_normalisation(read_tensors(path, weights), target)
    check_normalisation(model, stated, str(path))
    named = origins(tensors, target)
    own = target.state_dict()
    named = {name: key for name, key in named.items() if name in own or not _is_counter(name)}
    fitting = {
        name: tensors[key] for name, key in named.items() if name in own and own[name].shape == tensors[key].shape
    }
    wanting = [name for name in own if name not in fitting and not (_is_counter(name) and name not in named)]
    if wanting or len(fitting) < len(named):
        others = [name for name in named if name not in own]
        found = _mismatches(own, tensors, named, wanting, others)
        if strict or not fitting:
            raise ValueError(
                f"checkpoint {str(path)!r} is not one of this model ({len(wanting) + len(others)} tensors differ): choose "
                f"the architecture and the number of classes it was trained with\n{found}"
            )
        warnings.warn(
            f"of checkpoint {str(path)!r} {len(fitting)} tensors were loaded; these differ, and the model's own stay:\n{found}",
            stacklevel=2,
        )
    target.load_state_dict({**own, **fitting})


def _mismatches(
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    named: Mapping[str, str],
    wanting: list[str],
    others: list[str],
) -> str:
    """A table of two columns: every tensor of another shape, then what only one side has; and what that tells."""
    shapes = [name for name in wanting if name in named]
    missing = [name for name in wanting if name not in named]
    rows = [(_cell(name, own[name]), _cell(named[name], tensors[named[name]])) for name in shapes]
    rows += _cut([(_cell(name, own[name]), _NOTHING) for name in missing])
    rows += _cut([(_NOTHING, _cell(named[name], tensors[named[name]])) for name in others])
    rows.insert(0, ("in the model", "in the file"))
    width = max(len(left) for left, _ in rows)
    left_over = {"model": missing, "file": others}
    told = [text for side, pattern, text in HINTS if any(re.search(pattern, name) for name in left_over[side])]
    return "\n".join([*(f"  {left:<{width}}  {right}" for left, right in rows), *told])


def _cut(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(rows) <= _ROWS:
        return rows
    more = f"… and {len(rows) - _ROWS} more"
    return [*rows[:_ROWS], tuple(cell if cell == _NOTHING else more for cell in rows[0])]  # type: ignore[list-item]


def _cell(name: str, value: Tensor) -> str:
    return f"{name} {tuple(value.shape)}"


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
