"""How long it takes to compare many runs: from reading them on disk to the tables, the figures and the site."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro

from classwise.attacks import attack_list
from classwise.comparison import overview
from classwise.configuration import replace, to_yaml
from classwise.evaluation import AuditPlan, AuditResult, Outcomes
from classwise.evaluation.result import Examples
from classwise.recipes import recipe
from classwise.runs.atomic import write_text
from classwise.threat import linf
from report import write_result


def main(
    out: Path = Path("benchmarks/results/compare_many.json"),
    runs: int = 200,
    seeds: int = 4,
    samples: int = 10_000,
    classes: int = 10,
    repeats: int = 3,
) -> None:
    """Measure and write the figures.

    Args:
        out: JSON file.
        runs: Number of runs, each with one audit.
        seeds: How many of them repeat a recipe.
        samples: Test images.
        classes: Classes.
        repeats: Times that everything is done; the figures are medians.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "runs"
        for number in range(runs):
            make_run(made, number // seeds, number % seeds, samples, classes)
        taken: dict[str, list[float]] = {"table": [], "files": [], "site": []}
        processor: list[float] = []
        for repeat in range(repeats):
            begun, busy = time.perf_counter(), time.process_time()
            found = overview([made])
            str(found)
            after_table = time.perf_counter()
            found.save(Path(folder) / f"files{repeat}")
            after_files = time.perf_counter()
            found.site(Path(folder) / f"site{repeat}")
            after_site = time.perf_counter()
            processor.append(time.process_time() - busy)
            steps = (after_table - begun, after_files - after_table, after_site - after_files)
            for name, seconds in zip(taken, steps, strict=True):
                taken[name].append(seconds)
        assert len(found.members) == runs
        assert len(found.rows) == -(-runs // seeds)
        size = sum(path.stat().st_size for path in (Path(folder) / "site0").rglob("*") if path.is_file())
    figures = {
        "runs": runs,
        "seeds": seeds,
        "samples": samples,
        "classes": classes,
        "seconds": {name: float(np.median(each)) for name, each in taken.items()},
        "processor_seconds_of_all": float(np.median(processor)),
        "every_repeat": taken,
        "site_bytes": size,
    }
    print(json.dumps(figures, indent=2))
    write_result("compare_many", figures, out, packages=("matplotlib", "jinja2", "rich"))


def make_run(folder: Path, method: int, seed: int, samples: int, classes: int) -> None:
    """Write a run of random outcomes: configuration and one audit, nothing else."""
    generator = np.random.default_rng([method, seed])
    run = folder / f"method{method:03}-s{seed}"
    config = replace(recipe("digits-pgd-at"), seed=seed, epochs=method + 1)
    write_text(run / "config.yaml", to_yaml(config))
    label = np.arange(samples) % classes
    clean = generator.random(samples) < 0.9
    robust = clean & (generator.random(samples) < np.linspace(0.3, 0.8, classes)[label])
    wrong = (label + 1) % classes
    plan = AuditPlan(
        model=f"{run.name} (raw weights, after epoch 1)",
        data="made up",
        split="test",
        data_sha256="0" * 64,
        samples=samples,
        class_names=tuple(f"class {c}" for c in range(classes)),
        threats=(linf("8/255"),),
        attacks=attack_list("standard"),
        seed=0,
        batch_size=256,
    )
    outcomes = Outcomes(
        index=np.arange(samples),
        label=label,
        group=label,
        clean_prediction=np.where(clean, label, wrong),
        clean_margin=generator.normal(size=samples).astype(np.float32),
        prediction=np.where(robust, label, wrong)[None],
        margin=generator.normal(size=(1, samples)).astype(np.float32),
        broken_by=np.where(clean & ~robust, 0, -1)[None],
    )
    images = np.zeros((4, 3, 32, 32), np.float32)
    examples = Examples(images, images, label[:4], wrong[:4])
    AuditResult(plan, outcomes, examples, {}, (), f"{method}-{seed}").save(run / "audits" / "one")


if __name__ == "__main__":
    tyro.cli(main)
