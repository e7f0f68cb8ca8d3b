"""``classwise certify``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import nn

from classwise import registry
from classwise.cli.flags import parse
from classwise.configuration import from_plain
from classwise.data import ClassData, load
from classwise.evaluation.certify import EVERY, every_kth, plan_certify, run_certify
from classwise.evaluation.smoothing import Sampling, Stop
from classwise.models import ModelBuilder, weights_digest
from classwise.progress import default_progress
from classwise.radius import Radius
from classwise.run import Run
from classwise.runs import RunDirectory
from classwise.trained import find_model
from classwise.training import Hardware, Runtime


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
    """Data set whose test images are used, such as cifar10; default: that of the run."""
    data_dir: Path | None = None
    """Folder of the data set's official files; default: the cache filled by `classwise data fetch`."""
    network: str | None = None
    """Network that a file of weights belongs to, such as resnet20."""
    checkpoint: str = "selected"
    """Of a run: selected, best, averaged, last, start, or a number of epochs."""
    seed: int = 0
    """Seed of the noise."""
    batch_size: int = 1000
    """Noisy copies of a micro-batch."""
    device: str = "auto"
    """Device such as cuda:1; auto takes the best there is."""
    out: Path | None = None
    """Folder for the result."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "certify", arguments)
    for path in flags.plugin:
        registry.load_plugin(path)
    sampling = Sampling(
        sigma=flags.sigma,
        n0=flags.n0,
        n=flags.n,
        alpha=flags.alpha,
        stop=flags.stop,
        looks=flags.looks,
        enough=flags.enough,
    )
    model, described, images = _subject(flags)
    data = every_kth(images, flags.every)
    plan = plan_certify(data, model=described, sampling=sampling, seed=flags.seed, batch_size=flags.batch_size)
    folder = flags.out
    if folder is None and RunDirectory(flags.model).exists:
        sigma = str(flags.sigma).replace("/", "_")
        folder = flags.model / "certificates" / f"sigma-{sigma}-{plan.key()}-{weights_digest(model)[:8]}"
    runtime = Runtime(Hardware(device=flags.device))
    model = runtime.place(model).eval()
    result = run_certify(model, data, plan, runtime.device, default_progress(), folder)
    print(result.text(flags.radius))
    if result.folder is not None:
        print(f"Saved in {result.folder}")
    return 0


def _subject(flags: Flags) -> tuple[nn.Module, str, ClassData]:
    """The network, what it is called, and the test images.

    Raises:
        ValueError: A flag is missing that a model of this kind needs, or one is given that it cannot have.
    """
    is_run = RunDirectory(flags.model).exists
    if flags.checkpoint != "selected" and not is_run:
        raise ValueError("--checkpoint names a checkpoint of a run: give the checkpoint's folder instead")
    given = None
    if flags.data is not None:
        folder = {"folder": flags.data_dir} if flags.data_dir is not None else {}
        given = load(flags.data, **folder).test
    if is_run:
        run = Run(flags.model)
        number, averaged = run.checkpoint(flags.checkpoint)
        described = f"{run.path.name} ({'averaged' if averaged else 'raw'} weights, after epoch {number.name})"
        return run.model(flags.checkpoint), described, given or run.dataset.test
    if given is None and flags.model.is_file():
        raise ValueError(f"{str(flags.model)!r} is a file of weights: say which images, for example --data cifar10")
    builder = from_plain(ModelBuilder, flags.network, where="--network") if flags.network else None
    found = find_model(flags.model, builder, *((given.num_classes, given.shape) if given is not None else ()))
    if given is None:
        if found.config is None:
            raise ValueError("no data given: name a data set with --data, or certify a run that knows its own")
        given = found.config.data.load().test
    return found.network, found.described, given
