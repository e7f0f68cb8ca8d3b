"""What MLflow's own client finds in a store of its own."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classwise.runs import RunDirectory
from classwise.trackers import MLflow, track


@pytest.fixture
def store(real: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    real("mlflow")
    real("sqlalchemy")
    real("alembic")
    monkeypatch.chdir(tmp_path)  # artefacts lie below the folder it runs in
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def only_run(store: str, experiment: str = "classwise") -> tuple[Any, Any]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=store)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, found


def places(store: str) -> Counter[tuple[str, int]]:
    client, found = only_run(store)
    return Counter(
        (name, each.step) for name in found.data.metrics for each in client.get_metric_history(found.info.run_id, name)
    )


@pytest.mark.slow  # the store is made, which takes seconds
@pytest.mark.filterwarnings("ignore")  # of the libraries that MLflow stands on
def test_a_run_from_its_first_epoch_to_its_end(half: Path, run: Path, store: str) -> None:
    first = track(half, [f"mlflow:{store}"])
    assert {step for _, step in places(store)} == {1}
    assert only_run(store)[1].info.status == "RUNNING"

    second = track(run, [f"mlflow:{store}"])
    client, found = only_run(store)  # one and the same
    counted = places(store)
    assert set(counted.values()) == {1}
    assert len(counted) == first + second
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "at"
    assert found.data.params["policy.name"] == "kl-dro"
    events = RunDirectory(run).events.read("epoch")
    history = client.get_metric_history(found.info.run_id, "robust/2-bee")
    assert [each.value for each in history] == [event["validation"]["raw"]["robust"][2] for event in events]
    assert [each.timestamp for each in history] == [int(1000 * event["time"]) for event in events]

    files = {each.path for folder in ("", "figures") for each in client.list_artifacts(found.info.run_id, folder)}
    assert files >= {"report.html", "config.yaml", "figures/training.png", "figures/classes.png", "figures/knobs.png"}

    assert track(run, [MLflow(store)]) == 0
    assert places(store) == counted
    ended = only_run(store)[1].info.end_time
    assert ended == found.info.end_time

    import mlflow

    assert mlflow.active_run() is None
    track(run, [MLflow(store, experiment="other")])
    assert only_run(store, "other")[1].data.tags["classwise.run"] == found.data.tags["classwise.run"]


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ValueError, match=r'pip install "classwise\[mlflow\]"'):
        MLflow()
