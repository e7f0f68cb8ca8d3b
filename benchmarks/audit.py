"""Time the standard suite against the reference AutoAttack (pyautoattack) on the same network and images.

The contenders take turns in one process, each attacking the whole set:

- ``reference``: pyautoattack, version "standard", on the network as it is;
- ``exact``: our standard suite searching in float32;
- ``mixed``: our standard suite searching in bf16, where the hardware computes in bf16.

Ours judges every claim on the network itself in float32. Beside the seconds the script writes how many images each
leaves, what every stage of ours cost, and how cost grows with images and with classes.

The network is a robust one: ``--checkpoint`` and ``--data-dir`` name a ResNet-20 and CIFAR-10's official files.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyautoattack
import torch
import tyro
from torch import nn

import classwise as cw
from classwise.attacks import Attack, attack_list, describe
from classwise.data import ClassData
from classwise.evaluation.collect import Collected, Evaluator, Precision
from classwise.models import load_foreign
from classwise.models.named import network_named
from classwise.progress import Advance
from classwise.training.runtime import full_fp32, has_bf16
from report import write_result

GROWTH_SUITE = "apgd-ce-10+apgd-t-10+fab-t-10+square-100"
"""A short list for the growth of cost: what grows does not depend on the number of steps."""


class Stopwatch:
    """A progress display that notes the seconds and the pieces of work of every stage."""

    def __init__(self) -> None:
        self.stages: list[dict[str, Any]] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """See ``classwise.progress.Progress``."""
        start = time.perf_counter()

        def advance(units: int = 1, note: str = "") -> None:
            return None

        yield advance
        self.stages.append({"stage": label, "pieces": total, "seconds": time.perf_counter() - start})


def main(
    checkpoint: Path,
    data_dir: Path,
    out: Path = Path("benchmarks/results/audit.json"),
    network: str = "resnet20",
    per_class: int = 20,
    rounds: int = 2,
    batch_size: int = 200,
    device: str = "cpu",
) -> None:
    """Measure and write the figures.

    Args:
        checkpoint: Weights of a robust network.
        data_dir: CIFAR-10's official files.
        out: File for the figures.
        network: Its architecture.
        per_class: Test images of each class, the first ones.
        rounds: Rounds, each with one whole run of every contender.
        batch_size: Images of a batch, for all contenders.
        device: Where all of them run.
    """
    load = os.getloadavg()[0]
    data = cw.data.load("cifar10", folder=data_dir).test.first_per_class(per_class)
    model = network_named(network).build(data.num_classes, data.shape)
    load_foreign(model, checkpoint)
    model = model.to(device).eval()
    precisions: list[Precision] = ["exact", "mixed"] if has_bf16(torch.device(device)) else ["exact"]
    seconds: dict[str, list[float]] = {name: [] for name in ("reference", *precisions)}
    robust: dict[str, np.ndarray[Any, Any]] = {}
    stages: dict[str, list[dict[str, Any]]] = {}
    with full_fp32():
        for _ in range(rounds):
            for precision in precisions:
                start = time.perf_counter()
                collected, watch = ours(model, data, "standard", precision, batch_size, device)
                seconds[precision].append(time.perf_counter() - start)
                robust[precision] = collected.outcomes.robust_correct(0)
                stages[precision] = by_stage(watch, collected)
            start = time.perf_counter()
            robust["reference"] = reference(model, data, batch_size, device)
            seconds["reference"].append(time.perf_counter() - start)
        growth = {
            "images": by_images(model, data, precisions[-1], batch_size, device),
            "classes": by_classes(precisions[-1], device),
        }
    medians = {name: median(values) for name, values in seconds.items()}
    figures = {
        "device": device,
        "network": network,
        "threat": "linf 8/255",
        "images": len(data),
        "batch": batch_size,
        "rounds": rounds,
        "load_average_before": load,
        "seconds": medians,
        "seconds_of_each_round": seconds,
        "times_faster_than_reference": {name: medians["reference"] / medians[name] for name in medians},
        "robust": {name: int(each.sum()) for name, each in robust.items()},
        "same_verdict_as_reference": {name: int((robust[name] == robust["reference"]).sum()) for name in precisions},
        "stages": stages,
        "growth": growth,
    }
    write_result("audit", figures, out, packages=("pyautoattack",))
    for name, value in medians.items():
        print(f"{name:<10} {value:7.1f} s  {medians['reference'] / value:5.2f} times  {figures['robust'][name]} robust")
    for precision, rows in stages.items():
        for row in rows:
            print(
                f"{precision:<8} {row['stage']:<8} {row['attacked']:>5} attacked {row['survivors_per_second']:8.2f} per s"
            )


def ours(
    model: nn.Module, data: ClassData, attacks: str, precision: Precision, batch_size: int, device: str
) -> tuple[Collected, Stopwatch]:
    """One whole run of a suite of ours."""
    watch = Stopwatch()
    evaluator = Evaluator([cw.linf("8/255")], attack_list(attacks), 0, batch_size, torch.device(device), precision)
    return evaluator.run(model, data, watch), watch


def reference(model: nn.Module, data: ClassData, batch_size: int, device: str) -> np.ndarray[Any, Any]:
    """One whole run of the reference; which images are left."""
    attack = pyautoattack.AutoAttack(model, norm="Linf", eps=8 / 255, seed=0, version="standard", device=device)
    attack.verbose = False
    x, y = data.batch(slice(None), device)
    found = attack.run_standard_evaluation(x, y, batch_size=batch_size)
    x_adv = found[0] if isinstance(found, tuple) else found
    with torch.no_grad():
        return (model(x_adv.to(device)).argmax(1) == y).cpu().numpy()


def by_stage(watch: Stopwatch, collected: Collected) -> list[dict[str, Any]]:
    """What each attack of the standard suite met, broke and cost."""
    broken_by = collected.outcomes.broken_by[0]
    attacked = int(collected.outcomes.clean_correct.sum())
    rows = []
    for number, (stage, attack) in enumerate(zip(watch.stages[1:], attack_list("standard"), strict=True)):
        broken = int((broken_by == number).sum())
        rate = attacked / stage["seconds"]
        rows.append(
            stage | {"stage": named(attack), "attacked": attacked, "broken": broken, "survivors_per_second": rate}
        )
        attacked -= broken
    return rows


def named(attack: Attack) -> str:
    return describe([attack])


def by_images(
    model: nn.Module, data: ClassData, precision: Precision, batch_size: int, device: str
) -> list[dict[str, float]]:
    """Seconds of a short list of attacks on more and more of the images."""
    rows = []
    for share in (4, 2, 1):
        some = data.subset(torch.arange(0, len(data), share))
        start = time.perf_counter()
        ours(model, some, GROWTH_SUITE, precision, batch_size, device)
        rows.append({"images": len(some), "seconds": time.perf_counter() - start})
    return rows


def by_classes(precision: Precision, device: str, images: int = 32) -> list[dict[str, float]]:
    """Seconds of a short list on a network of so many classes that keeps every image, at a radius that breaks none."""
    rows = []
    for classes in (2, 4, 10, 43, 200):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = network_named("resnet20").build(classes, (3, 32, 32)).to(device).eval()
        x = torch.rand(images, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            y = model(x.to(device)).argmax(1).cpu()
        data = ClassData(x, y, tuple(str(c) for c in range(classes)))
        evaluator = Evaluator([cw.linf("1e-9")], attack_list(GROWTH_SUITE), 0, images, torch.device(device), precision)
        start = time.perf_counter()
        left = evaluator.collect(model, data).robust_correct(0)
        rows.append({"classes": classes, "seconds": time.perf_counter() - start, "left": int(left.sum())})
    return rows


if __name__ == "__main__":
    tyro.cli(main)
