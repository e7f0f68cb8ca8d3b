"""``classwise check``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api, registry
from classwise.cli import CHECK_FAILED, OK
from classwise.cli.flags import named_data, parse
from classwise.configuration import replace
from classwise.models.foreign import Weights
from classwise.models.named import network_named
from classwise.radius import Radius
from classwise.report.tables import checks_text
from classwise.threat import Norm, ThreatModel
from classwise.trained import run_facts


@dataclass(frozen=True)
class Flags:
    """Look for what makes a model's robust accuracy come out too high, such as masked gradients; or check a plug-in.

    Attacks up to 100 images. Exit code 3 where a check fails. What each check looks at: docs/believable.md. Given a Python
    file, checks every component that it registers against the contract of its kind: docs/plugins.md.
    """

    model: tyro.conf.Positional[Path]
    """A run directory, a checkpoint folder, or a file of weights (then give --data and --network); or a plug-in, a .py file
    (then without options; its code is run)."""
    data: str | None = None
    """Data set whose test images are used, such as cifar10, or folder,size=32,groups=site; default: that of the run."""
    data_dir: Path | None = None
    """Folder of the data set's files; default: the cache filled by `classwise data fetch`."""
    network: str | None = None
    """Network that a file of weights belongs to; see `classwise audit --help`."""
    weights: Weights | None = None
    """Of a file that holds both: raw or averaged (EMA) weights; default: the averaged ones."""
    norm: Norm | None = None
    """Norm of the threat model; default: that of the run, or linf."""
    radius: Radius | None = None
    """Radius, such as 8/255; default: that of the run, or 8/255."""
    attacks: str = "pgd-20"
    """The attacks whose figures are to be believed; see `classwise audit --help`."""
    seed: int = 0
    """Seed of random draws."""
    batch_size: int = 256
    """Images of a micro-batch."""
    device: str = "auto"
    """Device such as cuda:1; auto takes the best there is."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "check", arguments)
    if flags.model.suffix == ".py":
        return _check_plugin(flags.model, arguments)
    for path in flags.plugin:
        registry.load_plugin(path)
    data = named_data(flags.data, flags.data_dir)
    if data is None and flags.model.is_file():
        raise ValueError(f"{str(flags.model)!r} is a file of weights: say which images, for example --data cifar10")
    if (flags.norm is None) != (flags.radius is None) and flags.norm is not None:
        raise ValueError(f"--norm {flags.norm} needs a --radius")
    facts = run_facts(flags.model) if flags.model.exists() else {}
    known = facts.get("threat", ThreatModel())
    threat = None
    if flags.radius is not None:
        threat = (
            ThreatModel(norm=flags.norm, radius=flags.radius) if flags.norm else replace(known, radius=flags.radius)
        )
    checks = api.check(
        flags.model,
        data,
        threat=threat,
        attacks=flags.attacks,
        seed=flags.seed,
        batch_size=flags.batch_size,
        network=network_named(flags.network, where="--network") if flags.network else None,
        weights=flags.weights,
        device=flags.device,
        split="test",
    )
    print(checks_text(checks, everything=True))
    return CHECK_FAILED if any(each.verdict == "fail" for each in checks) else OK


def _check_plugin(path: Path, arguments: list[str]) -> int:
    from classwise.testing import check_plugin
    from classwise.testing.text import plugin_text

    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    if options:
        raise ValueError(f"{options[0]} is for checks of a model: to check a plug-in write `classwise check {path}`")
    examined = check_plugin(path)
    print(plugin_text(path, examined))
    passed = all(finding.passed for each in examined for finding in each.findings)
    return OK if passed else CHECK_FAILED
