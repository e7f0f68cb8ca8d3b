"""Device, precision, memory layout and processes. Everything that differs between one CPU and many GPUs is here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from classwise.configuration import config
from classwise.data.feeding import Feeding
from classwise.models.cost import multiplications
from classwise.models.layout import fastest_layout


@config
class Hardware:
    """What a run computes on."""

    device: str = "auto"
    """"auto" (CUDA, then Apple's MPS, then CPU) or a torch device such as "cuda:1"."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training: "auto" is bf16 autocast where the hardware computes in bf16, else fp32. Audits have a precision of their own."""
    compile: bool = False
    """Whether the network goes through torch.compile."""
    deterministic: bool = False
    """Whether only deterministic kernels are allowed (slower on a GPU; a CPU repeats itself anyway)."""
    threads: int = 0
    """CPU threads; 0 leaves torch's default."""
    feeding: Feeding = "auto"
    """Whether training images are kept on the device ("resident") or read while training ("streamed"); "auto" keeps them
    where they fill at most a third of its free memory. Batches are the same."""
    workers: int = 4
    """Processes that read streamed images, at most as many as there are processors; 0: the training process reads them."""

    def check(self) -> None:
        """Refuse negative numbers."""
        if self.threads < 0:
            raise ValueError(f"threads {self.threads} must be at least 1, or 0 for torch's default")
        if self.workers < 0:
            raise ValueError(f"workers {self.workers} must be at least 1, or 0 to read in the training process")


class Runtime:
    """The resolved hardware of this process.

    Args:
        hardware: What was asked for.

    Raises:
        ValueError: The device does not exist here.
    """

    def __init__(self, hardware: Hardware | None = None) -> None:
        self.hardware = hardware or Hardware()
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = _device(self.hardware.device)
        precision = self.hardware.precision
        self.precision = ("bf16" if has_bf16(self.device) else "fp32") if precision == "auto" else precision
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in the layouts that are fastest there."""
        return fastest_layout(model.to(device=self.device))

    def layout(self, x: Tensor) -> Tensor:
        """Images in the layout the network computes in."""
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network as the outer step calls it: gradients averaged over processes, compiled if asked."""
        wrapped: nn.Module = model
        if self.world > 1:
            wrapped = nn.parallel.DistributedDataParallel(
                model, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        if self.hardware.compile:
            wrapped.compile()
        return wrapped

    def autocast(self) -> AbstractContextManager[None]:
        """Context of forwards in training."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes, in place where there are several."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        """Torch's global settings for a while: threads, determinism, seeds (first weights, dropout); then put back."""
        devices = [self.device] if self.device.type == "cuda" else []
        deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
        if self.hardware.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        with torch.random.fork_rng(devices=devices), full_fp32():
            torch.manual_seed(seed)
            torch.use_deterministic_algorithms(self.hardware.deterministic or deterministic)
            torch.set_num_threads(self.hardware.threads or threads)
            try:
                yield
            finally:
                torch.use_deterministic_algorithms(deterministic)
                torch.set_num_threads(threads)

    def generator(self, seed: int) -> torch.Generator:
        """A generator on the device."""
        return torch.Generator(self.device).manual_seed(seed)

    def global_rng(self) -> dict[str, Tensor]:
        """State of torch's global generators."""
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def restore_global_rng(self, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`global_rng` gave."""
        torch.set_rng_state(state["cpu"].cpu())
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)


@contextmanager
def full_fp32() -> Iterator[None]:
    """Let fp32 mean fp32 for a while: on recent NVIDIA cards convolutions otherwise round to TF32.

    Autocast is left alone: inside another autocast, also one that is off, torch keeps bf16 copies of weights from step to
    step, and training would compute with old ones.
    """
    try:
        switches: list[tuple[Any, str, Any]] = [
            (backend, "allow_tf32", False) for backend in (torch.backends.cudnn, torch.backends.cuda.matmul)
        ]
        before = [getattr(backend, name) for backend, name, _ in switches]
    except RuntimeError:  # the program uses torch's newer switches, and the two kinds must not be mixed
        backends: list[Any] = [torch.backends.cudnn.conv, torch.backends.cuda.matmul]  # type: ignore[attr-defined]
        switches = [(backend, "fp32_precision", "ieee") for backend in backends]
        before = [getattr(backend, name) for backend, name, _ in switches]
    try:
        for backend, name, value in switches:
            setattr(backend, name, value)
        yield
    finally:
        for (backend, name, _), was in zip(switches, before, strict=True):
            setattr(backend, name, was)


Precision = Literal["auto", "exact", "mixed"]


PAYS = 10_000_000
"""Multiplications per image from which on a bf16 search is faster; below, other work takes most of the time."""


def search_precision(asked: Precision, model: Any, x: Tensor) -> Literal["exact", "mixed"]:
    """What attacks of an audit search in; "auto" is mixed where the hardware computes in bf16 and the network is large.

    Args:
        asked: What was asked for.
        model: The model.
        x: An image (1, …) of its kind, on its device.

    Raises:
        ValueError: It is none of the three.
    """
    if asked not in ("auto", "exact", "mixed"):
        raise ValueError(f"precision {asked!r} is unknown: auto, exact or mixed")
    if asked == "auto":
        return "mixed" if has_bf16(x.device) and multiplications(model, x) >= PAYS else "exact"
    return asked


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bf16 rather than imitating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(
            f"device {name!r} is not available here: run `classwise doctor` to see what is, or use auto"
        ) from None
    return device
