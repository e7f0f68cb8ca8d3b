"""Test images are read by audits and never while training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from classwise import AuditResult, ClassData, Dataset, finetune, train
from classwise.averaging import EpochEMA
from classwise.policies import KLDRO, CalibratedRadius, Combined
from classwise.progress import Silent


class Touched(Exception):
    """Somebody read the test images."""


@pytest.fixture
def poisoned(toy_data: Callable[..., ClassData]) -> Dataset:
    def touch() -> ClassData:
        raise Touched

    return Dataset("poisoned", train=toy_data(), test=touch)


@pytest.mark.filterwarnings("ignore:the start model is not robust")
@pytest.mark.filterwarnings("ignore:the repair did not succeed")
def test_training_and_repair_do_not_touch_them(
    poisoned: Dataset, toy_config: Callable[..., Any], tmp_path: Path
) -> None:
    config = toy_config(
        policy=Combined(members=(KLDRO(tau=0.2), CalibratedRadius(begin=0))),
        averaging=EpochEMA(decay=0.5),
        keep_epochs=(1,),
    )
    run = train(config, tmp_path / "run", data=poisoned, progress=Silent())
    assert 0 <= run.score() <= 2
    assert len(run.history) == 2
    repaired = finetune(run.model(), poisoned, recipe=config, out=tmp_path / "repaired", epochs=1, progress=Silent())
    from_disk = finetune(run, poisoned, recipe=config, out=tmp_path / "again", epochs=1, progress=Silent())
    assert len(repaired.history) == len(from_disk.history) == 1
    for each in (run, repaired, from_disk):
        with pytest.raises(Touched):
            each.audit(progress=Silent())


def test_they_are_read_once_by_an_audit(toy_data: Callable[..., ClassData], toy_config: Any, tmp_path: Path) -> None:
    reads = []

    def read() -> ClassData:
        reads.append(1)
        return toy_data(seed=4)

    run = train(toy_config(epochs=1), tmp_path / "run", data=Dataset("toy", toy_data(), read), progress=Silent())
    assert reads == []
    result = run.audit(attacks="pgd-2", progress=Silent())
    assert reads == [1]
    assert result.plan.data_sha256 == toy_data(seed=4).checksum()
    run.audit(attacks="fgsm", progress=Silent())
    assert reads == [1]


def test_roles_do_not_overlap_and_are_kept(toy_data: Callable[..., ClassData], toy_config: Any, tmp_path: Path) -> None:
    import json

    data = toy_data()
    train(toy_config(epochs=1), tmp_path / "run", data=Dataset("toy", data, lambda: data), progress=Silent())
    kept = json.loads((tmp_path / "run" / "splits.json").read_text())
    training, validation = (kept[name]["index"] for name in ("train", "validation"))
    assert sorted(training + validation) == list(range(48))
    assert torch.bincount(data.labels[validation]).tolist() == [4, 4, 4]
    assert kept["validation"]["sha256"] == data.subset(torch.tensor(validation)).checksum()


def test_a_flipped_bit_in_outcomes_is_noticed(
    toy_data: Callable[..., ClassData], toy_config: Any, tmp_path: Path
) -> None:
    data = Dataset("toy", toy_data(), lambda: toy_data(seed=4))
    run = train(toy_config(epochs=1), tmp_path / "run", data=data, progress=Silent())
    result = run.audit(attacks="pgd-2", progress=Silent())
    assert result.folder is not None
    path = result.folder / "outcomes.npz"
    content = path.read_bytes()
    for at in (0.05, 0.3, 0.5, 0.9):
        broken = bytearray(content)
        broken[int(at * len(content))] ^= 1
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"outcomes .* are damaged"):
            AuditResult.load(result.folder)
    with pytest.warns(UserWarning, match=r"outcomes .* are damaged"):
        again = run.audit(attacks="pgd-2", progress=Silent())
    assert again.outcomes.prediction.tolist() == result.outcomes.prediction.tolist()
