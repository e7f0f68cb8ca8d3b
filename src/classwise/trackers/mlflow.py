"""MLflow as a sink."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classwise.integrations.base import package
from classwise.trackers.log import TrackedLog

TAG = "classwise.run"
"""Tag of MLflow's runs that says which run it is."""

_NUMBERS, _SETTINGS, _LONGEST = 1000, 100, 6000
"""What MLflow takes at once: numbers, settings, and characters of a setting."""


class MLflow:
    """Sends to an MLflow server or store; the program's own MLflow settings and active run are left alone.

    The run is found again by a tag, and what it holds is asked of MLflow, so any machine may go on with it.

    Args:
        uri: Tracking URI; "": as MLflow is set (``MLFLOW_TRACKING_URI``, or its default).
        experiment: Its name, made where it is missing; "": ``MLFLOW_EXPERIMENT_NAME``, or "classwise".

    Raises:
        ValueError: The package is not installed.
    """

    name = "MLflow"

    def __init__(self, uri: str = "", experiment: str = "") -> None:
        mlflow = package("mlflow", 'pip install "classwise[mlflow]"', "tracker")
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "classwise")
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri or None)
        self._run = ""
        self._there: set[tuple[str, int]] = set()

    def open(self, log: TrackedLog, identity: str) -> None:
        """See :class:`classwise.trackers.Sink`."""
        from mlflow.entities import Param

        experiment = self._experiment()
        found = self._client.search_runs([experiment], f"tags.`{TAG}` = '{identity}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._there = {
                (name, metric.step)
                for name in found[0].data.metrics
                for metric in self._client.get_metric_history(self._run, name)
            }
            return
        self._run = self._client.create_run(experiment, run_name=log.name, tags={TAG: identity}).info.run_id
        settings = [Param(key, value[:_LONGEST]) for key, value in log.settings().items()]
        for start in range(0, len(settings), _SETTINGS):
            self._client.log_batch(self._run, params=settings[start : start + _SETTINGS])

    def has(self, name: str, step: int) -> bool:
        """See :class:`classwise.trackers.Sink`."""
        return (name, step) in self._there

    def scalars(self, values: Mapping[str, float], step: int, time: float) -> None:
        """See :class:`classwise.trackers.Sink`."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, int(1000 * time), step) for name, value in values.items()]
        for start in range(0, len(metrics), _NUMBERS):
            some = metrics[start : start + _NUMBERS]
            self._client.log_batch(self._run, metrics=some)
            self._there |= {(metric.key, step) for metric in some}

    def picture(self, name: str, png: bytes, step: int) -> None:
        """See :class:`classwise.trackers.Sink`; the figure of an earlier step is replaced."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{Path(name).name}.png"
            path.write_bytes(png)
            self._client.log_artifact(self._run, str(path), "figures")

    def file(self, path: Path) -> None:
        """See :class:`classwise.trackers.Sink`."""
        self._client.log_artifact(self._run, str(path))

    def close(self, finished: bool) -> None:
        """See :class:`classwise.trackers.Sink`; the run is open in MLflow until training is finished."""
        if self._run and finished and self._client.get_run(self._run).info.status != "FINISHED":
            self._client.set_terminated(self._run)

    def _experiment(self) -> str:
        """Id of the experiment."""
        known = self._client.get_experiment_by_name(self.experiment)
        return str(known.experiment_id if known is not None else self._client.create_experiment(self.experiment))
