"""Checkpoints of other programs: read without running code, renamed to our keys, loaded whole or not."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from classwise.models.wrapped import innermost

Weights = Literal["raw", "averaged"]
"""The weights as the optimizer left them, or their average over the steps (EMA, SWA)."""

WRAPPERS: dict[Weights, tuple[str, ...]] = {
    "raw": ("state_dict", "model_state_dict", "model", "net"),
    "averaged": ("state_dict_ema", "ema_state_dict", "model_ema", "ema", "averaged"),
}
"""Keys under which programs keep weights in a larger dictionary; of each kind the first that is there is taken."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What wrapping modules put before every name."""

RENAMES: tuple[tuple[tuple[str, str], ...], ...] = (
    # ResNet-20/32/56/110 with option A: conv_1_3x3, bn_1, stage_1.0.conv_a, …, classifier
    (
        (r"^conv_1_3x3\.", "stem."),
        (r"^bn_1\.", "stem_norm."),
        (r"^stage_(\d)\.", r"stage\1."),
        (r"\.conv_a\.", ".conv1."),
        (r"\.bn_a\.", ".norm1."),
        (r"\.conv_b\.", ".conv2."),
        (r"\.bn_b\.", ".norm2."),
        (r"^classifier\.", "head."),
    ),
    # PreActResNet-18 of FRL, CFA and many others: conv1, layer1.0.bn1, …, layer2.0.shortcut.0, bn, linear.
    # ResNets that share these names also have a top-level bn1; it is left unmapped on purpose, because their
    # option-A shortcut pads zeros elsewhere than ours, and they would load and compute something else.
    (
        (r"^conv1\.", "stem."),
        (r"^layer(\d)\.", r"stage\1."),
        (r"\.bn(\d)\.", r".norm\1."),
        (r"\.shortcut\.0\.", ".project."),
        (r"^bn\.", "norm."),
        (r"^linear\.", "head."),
    ),
)
"""One list of (pattern, replacement) per published naming, applied in order to every key."""

_ROWS = 10


def load_foreign(model: nn.Module, path: str | Path, weights: Weights | None = None) -> None:
    """Load a checkpoint that another program wrote, after renaming its keys.

    All is checked before the model is touched. Where only one side has BatchNorm's ``num_batches_tracked``
    (which evaluation does not use), the model keeps its own.

    Args:
        model: Receives the weights. Of a :class:`Normalized` model (or one that resizes) the inner network does.
        path: See :func:`read_tensors`.
        weights: See :func:`read_tensors`.

    Raises:
        ValueError: The file cannot be read safely, or its tensors are not those of the model.
    """
    target = innermost(model)
    tensors = map_keys(read_tensors(path, weights), target)
    own = target.state_dict()
    tensors = {key: each for key, each in tensors.items() if key in own or not _is_counter(key)}
    tensors |= {key: each for key, each in own.items() if key not in tensors and _is_counter(key)}
    rows = [
        *(f"missing     {key} {tuple(each.shape)}" for key, each in own.items() if key not in tensors),
        *(f"unexpected  {key} {tuple(each.shape)}" for key, each in tensors.items() if key not in own),
        *(
            f"shape       {key} is {tuple(tensors[key].shape)} in the file, {tuple(each.shape)} in the model"
            for key, each in own.items()
            if key in tensors and tensors[key].shape != each.shape
        ),
    ]
    if rows:
        more = [f"… and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else []
        raise ValueError(
            f"checkpoint {str(path)!r} is not one of this model ({len(rows)} tensors differ): "
            "choose the architecture and the number of classes it was trained with\n  "
            + "\n  ".join(rows[:_ROWS] + more)
        )
    target.load_state_dict(tensors)


def map_keys(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of a file to the keys of a model.

    Tried are the names as they are and with one prefix after the other taken off, as long as every name bears one of
    ``PREFIXES``; each of these also by every table of ``RENAMES``. What fits most of the model's names is taken, the
    earlier one of two that fit alike. Names that no table knows stay.

    Raises:
        ValueError: Two names of the file become one.
    """
    own = set(model.state_dict())
    bare = {key: key for key in tensors}
    candidates = _renamed(bare)
    while prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in bare.values())), None):
        bare = {key: name.removeprefix(prefix) for key, name in bare.items()}
        candidates += _renamed(bare)
    best = max(candidates, key=lambda names: len(own & set(names.values())))
    origin: dict[str, str] = {}
    for key, name in best.items():
        if name in origin:
            raise ValueError(f"the checkpoint holds {name!r} as {origin[name]!r} and as {key!r}: keep one of them")
        origin[name] = key
    return {name: tensors[key] for name, key in origin.items()}


def read_tensors(path: str | Path, weights: Weights | None = None) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint without running any code in it.

    The file may be safetensors or torch's format, new or old (told apart by their first bytes). Dictionaries
    around the weights are opened by the keys of ``WRAPPERS``, prefixes left by ``DataParallel`` and
    ``torch.compile`` are taken off, and what is no tensor is left out.

    Args:
        path: The file.
        weights: Which weights to take where the file holds both kinds. Default: the averaged ones, with a warning,
            as in our own runs, whose result are the averaged weights where an average is kept.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        ValueError: There is no such file, it is damaged, is a web page, holds more than data, or no tensors of the kind
            asked for.
    """
    content = _open(_read(Path(path)), path, weights)
    tensors = {str(key): each for key, each in content.items() if isinstance(each, Tensor)}
    if not tensors:
        seen = ", ".join([str(key) for key in content][:_ROWS])
        raise ValueError(
            f"checkpoint {str(path)!r} holds no weights, only {seen or 'an empty dictionary'}: "
            "save model.state_dict() instead"
        )
    tensors.pop("n_averaged", None)  # the counter of torch.optim.swa_utils.AveragedModel
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", key): each for key, each in tensors.items()}


def _open(content: Any, path: str | Path, weights: Weights | None) -> Mapping[Any, Any]:
    """The innermost dictionary that holds the weights of the kind asked for."""
    if not isinstance(content, Mapping):
        raise ValueError(
            f"checkpoint {str(path)!r} holds a {type(content).__name__} and no dictionary of weights: "
            "save model.state_dict() instead"
        )
    opened: Mapping[Any, Any] = content
    averaged = False
    while True:
        there = {kind: [key for key in keys if _holds_tensors(opened.get(key))] for kind, keys in WRAPPERS.items()}
        if averaged:  # chosen further out; inside, all of it is averaged
            there = {"raw": [*there["raw"], *there["averaged"]], "averaged": []}
        if not any(there.values()):
            break
        if all(there.values()) and weights is None:
            warnings.warn(
                f"checkpoint {str(path)!r} holds raw weights ({there['raw'][0]!r}) and averaged ones "
                f"({there['averaged'][0]!r}): the averaged ones are taken; ask for weights='raw' to take the others",
                stacklevel=4,
            )
        if weights == "raw" and not there["raw"]:
            raise ValueError(f"checkpoint {str(path)!r} holds averaged weights only: ask for weights='averaged'")
        take_average = bool(there["averaged"]) and weights != "raw"
        averaged = averaged or take_average
        opened = opened[there["averaged" if take_average else "raw"][0]]
    if weights == "averaged" and not averaged:
        raise ValueError(f"checkpoint {str(path)!r} holds no averaged weights: ask for weights='raw'")
    return opened


def _holds_tensors(content: Any) -> bool:
    """Whether there are tensors in a dictionary or further in; settings of a model or an average hold none."""
    return isinstance(content, Mapping) and any(isinstance(e, Tensor) or _holds_tensors(e) for e in content.values())


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ValueError(f"checkpoint {str(path)!r} cannot be read ({error.strerror}): check the path") from error
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"version https://git-lfs")):
        raise ValueError(
            f"checkpoint {str(path)!r} is a web page or a pointer, not weights: "
            "the download went wrong, fetch the file itself"
        )
    try:
        if head[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows as nearly anything, from EOFError to KeyError
        wanted = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if wanted:
            raise ValueError(
                f"checkpoint {str(path)!r} holds more than tensors ({wanted[1]}), "
                "and reading that could run code: save model.state_dict() alone where it was written"
            ) from error
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged, truncated or no checkpoint at all "
            f"({type(error).__name__}): fetch or save it again"
        ) from error


def _renamed(names: dict[str, str]) -> list[dict[str, str]]:
    """The names as they are, and by every table of ``RENAMES``; keys are the file's own names."""
    return [names, *({key: _rename(name, rules) for key, name in names.items()} for rules in RENAMES)]


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")
