"""``classwise certify``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api, registry
from classwise.cli.flags import named_data, parse
from classwise.evaluation.certify import EVERY
from classwise.evaluation.smoothing import Stop
from classwise.models.named import network_named
from classwise.radius import Radius
from classwise.run import Run
from classwise.runs import RunDirectory


@dataclass(frozen=True)
class Flags:
    """Certify a model by randomised smoothing: the share of each class that no l_2 change below a radius breaks.

    Finished images are kept: the same command goes on where it was interrupted. The result for a run is kept in its
    `certificates` folder; for anything else where --out says.
    """

    model: tyro.conf.Positional[Path]
    """A run directory, a checkpoint folder, or a file of weights (then give --data and --network)."""
    sigma: Radius
    """Standard deviation of the noise, in units of the pixel range, such as 0.25; as in training."""
    n0: int = 100
    """Votes that choose the class."""
    n: int = 100_000
    """Votes, at most, that bound its probability."""
    alpha: float = 0.001
    """Greatest probability that a certificate is wrong."""
    stop: Stop = "never"
    """End voting early: only to abstain, or also at the radius --enough with alpha split over the looks."""
    looks: int = 5
    """Looks of the stopping rules."""
    enough: Radius = Radius(0)  # noqa: RUF009 - immutable
    """Certified radius at which split-alpha ends."""
    radius: tuple[Radius, ...] = ()
    """Radii of the table; default: 0, 1/2, 1 and 2 standard deviations of the noise."""
    every: int = EVERY
    """Every how many-th test image of each class; 1: all."""
    data: str | None = None
    """Data set whose test images are used, such as cifar10, or folder,size=32,groups=site; default: that of the run."""
    data_dir: Path | None = None
    """Folder of the data set's files; default: the cache filled by `classwise data fetch`."""
    network: str | None = None
    """Network that a file of weights belongs to, such as resnet20."""
    checkpoint: str = "selected"
    """Of a run: selected, repaired, best, averaged, last, start, or a number of epochs."""
    seed: int = 0
    """Seed of the noise."""
    batch_size: int = 1000
    """Noisy copies of a micro-batch."""
    device: str = "auto"
    """Device such as cuda:1; auto takes the best there is."""
    out: Path | None = None
    """Folder for the result; default for a run: its `certificates` folder."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "certify", arguments)
    for path in flags.plugin:
        registry.load_plugin(path)
    images = named_data(flags.data, flags.data_dir)
    run = Run(flags.model) if RunDirectory(flags.model).exists else None
    if flags.checkpoint != "selected" and run is None:
        raise ValueError("--checkpoint names a checkpoint of a run: give the checkpoint's folder instead")
    if run is None and images is None and flags.model.is_file():
        raise ValueError(f"{str(flags.model)!r} is a file of weights: say which images, for example --data cifar10")
    subject = run.checkpoint(flags.checkpoint)[0] if run is not None and flags.checkpoint != "selected" else flags.model
    out = flags.out
    if out is None and run is not None and images is None:
        name = f"sigma-{flags.sigma}-{flags.checkpoint}-every-{flags.every}-n-{flags.n}-{flags.stop}-seed-{flags.seed}"
        out = flags.model / "certificates" / name.replace("/", "_")
    result = api.certify(
        subject,
        images,
        sigma=flags.sigma,
        n0=flags.n0,
        n=flags.n,
        alpha=flags.alpha,
        stop=flags.stop,
        looks=flags.looks,
        enough=flags.enough,
        every=flags.every,
        seed=flags.seed,
        batch_size=flags.batch_size,
        network=network_named(flags.network, where="--network") if flags.network else None,
        device=flags.device,
        split="test",
        out=out,
    )
    print(result.text(flags.radius))
    if result.folder is not None:
        print(f"Saved in {result.folder}")
    return 0
