"""The callback in a real Lightning trainer."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import classwise as cw
from classwise.trackers import lightning_callback

NAMES = ("ant", "bee", "cat")


def images() -> cw.ClassData:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(30) % 3
    x = torch.rand(30, 1, 4, 4, generator=generator) * 0.5
    x[torch.arange(30), 0, labels] += 0.3
    return cw.ClassData(x, labels, NAMES)


def fit(pl: Any, folder: Path, *callbacks: Any, epochs: int = 3) -> tuple[Any, Any]:
    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(16, 3)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("plain", F.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    x, y = images().batch(slice(None))
    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, batch_size=10, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=pl.loggers.CSVLogger(str(folder)),
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(each, pl.callbacks.ModelCheckpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    module = Module()
    torch.manual_seed(1)
    trainer.fit(module, loader, torch.utils.data.DataLoader(data, batch_size=10))
    return trainer, module


@pytest.fixture
def pl(real: Callable[[str], Any]) -> Any:
    return real("lightning.pytorch")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Lightning about few workers
def test_it_logs_and_changes_nothing(pl: Any, tmp_path: Path) -> None:
    monitor = cw.ClasswiseMonitor(images(), cw.linf("8/255"), "pgd-3", log=tmp_path / "mine")
    callback = lightning_callback(monitor, every_n_epochs=2)
    assert isinstance(callback, pl.Callback)
    best = pl.callbacks.ModelCheckpoint(
        dirpath=tmp_path / "best", monitor="robust/worst", mode="max", save_on_train_epoch_end=True, every_n_epochs=2
    )
    trainer, module = fit(pl, tmp_path / "with", callback, best, epochs=4)
    _, plain = fit(pl, tmp_path / "without", epochs=4)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    assert [event["step"] for event in monitor.log.read()] == [2, 4]  # type: ignore[union-attr]
    table = callback.table
    assert table.rows() == monitor(module, 5).rows()
    logged = trainer.callback_metrics
    assert float(logged["robust/worst"]) == pytest.approx(table.worst.value)
    assert float(logged["clean/2-cat"]) == pytest.approx(table.clean[2])
    assert Path(best.best_model_path).is_file()
    written = next((tmp_path / "with").rglob("metrics.csv")).read_text()
    assert "robust/0-ant" in written


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_network_may_be_a_part_of_the_module(pl: Any, tmp_path: Path) -> None:
    monitor = cw.ClasswiseMonitor(images(), attacks="pgd-2")
    callback = lightning_callback(monitor, network=lambda module: cw.Normalized(module.net, (0.5,), (0.25,)))
    _, module = fit(pl, tmp_path, callback, epochs=1)
    assert callback.table.rows() == monitor(cw.Normalized(module.net, (0.5,), (0.25,)), 1).rows()


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = cw.ClasswiseMonitor(images())
    with pytest.raises(ValueError, match="every_n_epochs 0 must be at least 1"):
        lightning_callback(monitor, every_n_epochs=0)
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r'pip install "classwise\[lightning\]"'):
        lightning_callback(monitor)
