"""What ``train`` and ``finetune`` have in common once their flags are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from classwise import api
from classwise.cli.flags import Parts
from classwise.configuration import replace, to_yaml
from classwise.run import Run
from classwise.runs import RunDirectory
from classwise.training import TrainConfig


def with_data_dir(config: TrainConfig, folder: Path | None) -> TrainConfig:
    """The configuration with the folder of the data set's files, absolute so that it holds from anywhere.

    Raises:
        ValueError: This data source reads no folder.
    """
    if not hasattr(config.data, "folder"):
        if folder is None:
            return config
        raise ValueError(f"--data-dir: the data source {config.data.registered_name!r} reads no folder")
    given = str(folder) if folder is not None else config.data.folder
    absolute = str(Path(given).expanduser().resolve()) if given else ""
    return replace(config, data=replace(config.data, folder=absolute))


def carry_out(config: TrainConfig, out: Path, parts: Parts, dry_run: bool, track: Sequence[str] = ()) -> Run | None:
    """Train, its log sent to trackers meanwhile, or print what would be done (which gives None)."""
    if dry_run:
        from classwise.training.estimate import estimate

        print(to_yaml(config))
        print(estimate(config))
        return None
    if RunDirectory(out).status["state"] == "finished":
        print(f"The run in {out} is finished: nothing is trained.")
    if not track:
        return api.train(config, out, plugins=parts.plugin)
    from classwise.trackers import tracking

    with tracking(out, track):
        return api.train(config, out, plugins=parts.plugin)
