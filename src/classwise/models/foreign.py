"""Checkpoints of other programs: read without running code, renamed to our keys, loaded whole or not."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from classwise.models.normalized import Normalized

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "model_ema", "ema")
"""Keys under which programs keep the weights in a larger dictionary; the first that is there is taken."""

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


def load_foreign(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint that another program wrote, after renaming its keys.

    All is checked before the model is touched. Where only one side has BatchNorm's ``num_batches_tracked``
    (which evaluation does not use), the model keeps its own.

    Args:
        model: Receives the weights. Of a :class:`Normalized` model the inner network does.
        path: See :func:`read_tensors`.

    Raises:
        ValueError: The file cannot be read safely, or its tensors are not those of the model.
    """
    target = model.net if isinstance(model, Normalized) else model
    tensors = map_keys(read_tensors(path), target)
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
    """Rename the tensors of a file to the keys of a model, by the table of ``RENAMES`` that fits most.

    Names that already fit stay, and so do names that no table knows.

    Raises:
        ValueError: Two names of the file become one.
    """
    own = set(model.state_dict())
    if all(key.startswith("net.") for key in tensors) and not any(key.startswith("net.") for key in own):
        # saved from a Normalized model
        tensors = {key.removeprefix("net."): each for key, each in tensors.items()}
    candidates = [{key: key for key in tensors}]
    candidates += [{key: _rename(key, rules) for key in tensors} for rules in RENAMES]
    best = max(candidates, key=lambda names: len(own & set(names.values())))
    origin: dict[str, str] = {}
    for key, name in best.items():
        if name in origin:
            raise ValueError(f"the checkpoint holds {name!r} as {origin[name]!r} and as {key!r}: keep one of them")
        origin[name] = key
    return {name: tensors[key] for name, key in origin.items()}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint without running any code in it.

    The file may be safetensors or torch's format, new or old (told apart by their first bytes). Dictionaries
    around the weights are opened in the order of ``WRAPPERS``, prefixes left by ``DataParallel`` and
    ``torch.compile`` are taken off, and what is no tensor is left out.

    Args:
        path: The file.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        ValueError: There is no such file, it is damaged, is a web page, holds more than data, or no tensors.
    """
    content = _read(Path(path))
    if not isinstance(content, Mapping):
        raise ValueError(
            f"checkpoint {str(path)!r} holds a {type(content).__name__} and no dictionary of weights: "
            "save model.state_dict() instead"
        )
    while inner := next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None):
        content = inner
    tensors = {str(key): each for key, each in content.items() if isinstance(each, Tensor)}
    if not tensors:
        seen = ", ".join([str(key) for key in content][:_ROWS])
        raise ValueError(
            f"checkpoint {str(path)!r} holds no weights, only {seen or 'an empty dictionary'}: "
            "save model.state_dict() instead"
        )
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", key): each for key, each in tensors.items()}


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


def _rename(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")
