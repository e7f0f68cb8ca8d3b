"""Time and check the worst-case class weights against solving the same convex program with cvxpy.

Three rivals, all solved by CLARABEL: a program over the C weights built anew for each problem; the same
program built once, with the losses as a parameter; and the construction of the published code, built anew for
each batch with one term of the objective per sample. All contenders take turns in one process; figures are
medians.
"""

import warnings
from pathlib import Path
from statistics import median
from typing import Any

import cvxpy
import numpy as np
import torch
import tyro
from torch.utils._python_dispatch import TorchDispatchMode

from classwise.theory import optimality_gap, worst_case_weights
from report import write_result
from timing import seconds

SAMPLES = 128
PROBLEMS = 1000
TIGHT = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10, "tol_ktratio": 1e-8}
HOST_READS = {"_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "masked_select"}


def main(out: Path = Path("benchmarks/results/dro_weights.json"), device: str = "cpu", threads: int = 1) -> None:
    """Measure, check, and write the figures.

    Args:
        out: File for the figures.
        device: Where our solver runs; cvxpy runs on the processor in any case.
        threads: Threads of our solver on the processor.
    """
    torch.set_num_threads(threads)
    figures: dict[str, Any] = {"device": device, "solver_of_rivals": "CLARABEL", "samples_per_batch": SAMPLES}
    for classes, tau in ((10, 0.5), (100, 0.05)):
        figures[f"classes_{classes}"] = {
            "tau": tau,
            "single": single(classes, tau, device),
            "batch": batch(classes, tau, device),
            "correctness": correctness(classes, device),
            "operations": operations(classes, tau, device),
        }
    write_result("dro_weights", figures, out, ("cvxpy", "clarabel"))


def build(losses: Any, tau: float, classes: int) -> tuple[cvxpy.Problem, cvxpy.Variable]:
    """The program over the class weights: losses are numbers or a parameter."""
    q = cvxpy.Variable(classes)
    ball = cvxpy.sum(cvxpy.kl_div(np.full(classes, 1 / classes), q)) <= tau
    return cvxpy.Problem(cvxpy.Maximize(losses @ q), [ball, cvxpy.sum(q) == 1]), q


def solve_fresh(losses: np.ndarray, tau: float, **options: float) -> cvxpy.Problem:
    """Build and solve the program over the class weights."""
    program, _ = build(losses, tau, len(losses))
    program.solve(solver=cvxpy.CLARABEL, **options)
    return program


def solve_per_sample(losses: np.ndarray, labels: list[int], tau: float) -> cvxpy.Problem:
    """Build and solve the published construction: the objective is a sum over the samples of the batch."""
    classes = len(losses)
    q = cvxpy.Variable(classes)
    objective = cvxpy.sum([q[label] * losses[label] for label in labels])
    ball = cvxpy.sum(cvxpy.kl_div(np.full(classes, 1 / classes), q)) <= tau
    program = cvxpy.Problem(cvxpy.Maximize(objective), [ball, cvxpy.sum(q) == 1])
    program.solve(solver=cvxpy.CLARABEL)
    return program


def single(classes: int, tau: float, device: str, rounds: int = 25) -> dict[str, Any]:
    """Seconds for one problem."""
    generator = np.random.default_rng(classes)
    parameter = cvxpy.Parameter(classes)
    reused, _ = build(parameter, tau, classes)
    times: dict[str, list[float]] = {"ours": [], "fresh": [], "reused": [], "per_sample": []}
    for _ in range(rounds + 2):
        losses = generator.standard_normal(classes)
        labels = generator.integers(0, classes, SAMPLES).tolist()
        ours = torch.from_numpy(losses).to(device)
        times["ours"].append(seconds(lambda x=ours: worst_case_weights(x, tau), device, 20))
        times["fresh"].append(seconds(lambda x=losses: solve_fresh(x, tau), device))
        parameter.value = losses
        times["reused"].append(seconds(lambda: reused.solve(solver=cvxpy.CLARABEL), device))
        times["per_sample"].append(seconds(lambda x=losses, y=labels: solve_per_sample(x, y, tau), device))
    medians = {name: median(values[2:]) for name, values in times.items()}  # two rounds warm up
    ratios = {name: medians[name] / medians["ours"] for name in ("fresh", "reused", "per_sample")}
    return {"rounds": rounds, "seconds": medians, "times_faster_than": ratios}


def batch(classes: int, tau: float, device: str, rounds: int = 30) -> dict[str, Any]:
    """Seconds for many problems at once, against the same number of single solves."""
    losses = np.random.default_rng(classes).standard_normal((PROBLEMS, classes))
    ours = torch.from_numpy(losses).to(device)
    own, rival = [], []
    for row in losses[: rounds + 2]:
        own.append(seconds(lambda: worst_case_weights(ours, tau), device))
        rival.append(seconds(lambda x=row: solve_fresh(x, tau), device))
    own_seconds, rival_seconds = median(own[2:]), PROBLEMS * median(rival[2:])
    return {
        "problems": PROBLEMS,
        "rounds": rounds,
        "seconds": {"ours": own_seconds, "fresh": rival_seconds},
        "times_faster_than": {"fresh": rival_seconds / own_seconds},
        "note": f"fresh: {PROBLEMS} times the median of {rounds} solves, not {PROBLEMS} solves",
    }


def correctness(classes: int, device: str) -> dict[str, Any]:
    """Largest differences from cvxpy over random problems: normal, uniform, tied and heavy-tailed losses."""
    generator = np.random.default_rng(100 + classes)
    quarter = (PROBLEMS // 4, classes)
    losses = np.concatenate(
        [
            generator.standard_normal(quarter),
            generator.random(quarter),
            generator.integers(0, 4, quarter).astype(float),
            generator.standard_t(2, quarter),
        ]
    )
    tau = np.exp(generator.uniform(np.log(0.01), np.log(2), PROBLEMS))
    on_device = torch.from_numpy(losses).to(device), torch.from_numpy(tau).to(device)
    weights = worst_case_weights(*on_device)
    gaps = (optimality_gap(on_device[0], weights, on_device[1]).cpu().numpy() / np.ptp(losses, -1)).max()
    q = weights.cpu().numpy()
    differences, statuses = [], []
    for row, radius, own in zip(losses, tau, q, strict=True):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            program = solve_fresh(row, float(radius), **TIGHT)
        statuses.append(program.status)
        differences.append((own @ row - program.value) / np.ptp(row))
    return {
        "problems": PROBLEMS,
        "tau_range": [0.01, 2.0],
        "rival_tolerances": TIGHT,
        "rival_statuses": {status: statuses.count(status) for status in sorted(set(statuses))},
        "objective_difference_over_range": {
            "lowest": min(differences),
            "highest": max(differences),
            "largest_where_rival_optimal": max(
                abs(d) for d, status in zip(differences, statuses, strict=True) if status == "optimal"
            ),
        },
        "own_optimality_gap_over_range": float(gaps),
        "largest_constraint_error": float(np.abs(-np.log(classes * q).mean(-1) - tau).max()),
    }


class _Counter(TorchDispatchMode):
    """Counts operations by name; views, which launch nothing, apart."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[str] = []
        self.views: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aliases = [r.alias_info for r in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        (self.views if view else self.launches).append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operations(classes: int, tau: float, device: str) -> dict[str, Any]:
    """Operations that one solve sends to the device."""
    losses = torch.randn(classes, device=device)
    with _Counter() as counter:
        worst_case_weights(losses, tau)
    reads = sorted(HOST_READS & {*counter.launches, *counter.views})
    return {"launches": len(counter.launches), "views": len(counter.views), "host_reads": reads}


if __name__ == "__main__":
    tyro.cli(main)
