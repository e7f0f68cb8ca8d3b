"""``classwise doctor``."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from classwise.cli.flags import parse
from classwise.runs.environment import version

CORE = ("torch", "numpy", "scipy", "pyyaml", "safetensors", "filelock")
OTHERS = ("scikit-learn", "tyro", "rich", "pooch", "pillow", "jinja2", "matplotlib")
BREAKABLE = ("torchvision", "timm", "torchmetrics")


@dataclass(frozen=True)
class Flags:
    """Report versions, device, threads, bf16 support, disk space, and packages that are installed but broken."""

    folder: Path = Path()
    """Where runs will be written."""


def main(arguments: list[str]) -> int:
    """Run the command; exit code 3 when something that is needed is missing."""
    flags = parse(Flags, "doctor", arguments)
    import torch

    from classwise.training.runtime import Runtime, has_bf16

    runtime = Runtime()
    missing = [name for name in CORE if version(name) is None]
    rows = [
        ("classwise", f"{version('classwise')} in {Path(__file__).parents[1]}"),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        *((name, version(name) or "MISSING: pip install " + name) for name in CORE),
        *((name, version(name) or "absent (needed by some commands only)") for name in OTHERS),
        *((name, _health(name)) for name in BREAKABLE if version(name) is not None),
        (
            "device",
            f"{runtime.device}" + (f" ({torch.cuda.get_device_name()})" if runtime.device.type == "cuda" else ""),
        ),
        ("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors"),
        ("bf16", "computed in hardware" if has_bf16(runtime.device) else "not in hardware: training uses fp32"),
        ("disk", f"{shutil.disk_usage(_existing(flags.folder)).free / 2**30:.1f} GiB free at {flags.folder.resolve()}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    if missing:
        print(f"\nMissing: {', '.join(missing)}. Install with: pip install {' '.join(missing)}")
        return 3
    return 0


def _health(name: str) -> str:
    """Whether an optional package that often breaks beside a CPU build of torch can be imported."""
    try:
        importlib.import_module(name)
    except Exception as error:  # a broken binary package raises anything
        first = (str(error).splitlines() or [""])[0]
        return f"{version(name)} BROKEN here ({type(error).__name__}: {first}); classwise does not need it"
    return f"{version(name)} works"


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    return next(each for each in (folder, *folder.parents) if each.exists())
