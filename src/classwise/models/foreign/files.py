"""Checkpoint files of other programs, read without running any code in them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Weights = Literal["raw", "averaged"]
"""The weights as the optimizer left them, or their average over the steps (EMA, SWA)."""

WRAPPERS: dict[Weights, tuple[str, ...]] = {
    "raw": ("state_dict", "model_state_dict", "model", "net", "last"),
    "averaged": ("state_dict_ema", "ema_state_dict", "model_ema", "ema", "averaged"),
}
"""Keys under which programs keep weights in a larger dictionary; of each kind the first that is there is taken."""

_SHOWN = 10


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
        seen = ", ".join([str(key) for key in content][:_SHOWN])
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
