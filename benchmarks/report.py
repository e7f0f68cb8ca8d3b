"""How benchmark scripts leave their figures behind: one JSON file each, with what is needed to judge them."""

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def write_result(name: str, figures: dict[str, Any], out: Path, packages: tuple[str, ...] = ()) -> None:
    """Write the figures of one benchmark beside the versions and the hardware they were measured on.

    Args:
        name: Name of the benchmark.
        figures: Anything JSON can hold; times in seconds unless a key says otherwise.
        out: File to write; its folder is made.
        packages: Further installed packages whose versions matter.
    """
    result = {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in ("torch", "numpy", *packages)},
        },
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "figures": figures,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")


def _processor() -> str:
    """Name of the processor where the system tells it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
