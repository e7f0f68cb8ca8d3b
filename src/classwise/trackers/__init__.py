"""Following training elsewhere: the event log sent to TensorBoard and MLflow, and a monitor for anyone's own loop."""

from classwise.trackers.lightning import lightning_callback
from classwise.trackers.mlflow import MLflow
from classwise.trackers.monitor import ClasswiseMonitor
from classwise.trackers.scalars import table_scalars
from classwise.trackers.send import track, tracking
from classwise.trackers.sink import Sink
from classwise.trackers.tensorboard import TensorBoard

__all__ = [
    "ClasswiseMonitor",
    "MLflow",
    "Sink",
    "TensorBoard",
    "lightning_callback",
    "table_scalars",
    "track",
    "tracking",
]
