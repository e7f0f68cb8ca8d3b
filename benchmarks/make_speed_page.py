"""Write ``docs/speed.md`` from the figures that the benchmarks left in ``benchmarks/results``."""

import json
from pathlib import Path
from typing import Any

import tyro

Result = dict[str, Any]

CONTENDERS = {
    "textbook": "textbook: `loss.backward()` in the attack, float32, default layout",
    "textbook_own_network": "the same on our network, whose ReLU works in place",
    "input_gradients_only": "our step in the default layout: gradients of the input alone",
    "loop_fp32": "our step in float32",
    "loop_bf16": "our step in bf16",
}
RIVALS = {
    "per_sample": "the published construction, one term per sample",
    "fresh": "a program over the class weights, built anew",
    "reused": "the same program built once, losses as a parameter",
}
LOADERS = {
    "resident": "ours, images kept as bytes in memory",
    "mapped": "ours, from a memory-mapped file",
    "torchvision": "one by one: torchvision's transforms on PIL images, PyTorch's DataLoader",
    "pil": "one by one: Pillow called by hand, PyTorch's DataLoader",
}
RIVAL_LOADERS = {"torchvision": "torchvision's transforms", "pil": "Pillow by hand"}


def main(results: Path = Path("benchmarks/results"), out: Path = Path("docs/speed.md")) -> None:
    """Write the page.

    Args:
        results: Folder of the figures.
        out: The page.
    """
    out.write_text(page(results), encoding="utf-8")


def page(results: Path) -> str:
    """The page as Markdown."""
    step, digits, weights, methods, suite, feeding, whole, theory = (
        json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        for name in (
            "training_step",
            "bf16_digits",
            "dro_weights",
            "policies",
            "audit",
            "loader",
            "epoch",
            "theory_sweeps",
        )
    )
    parts = [
        "# Speed",
        INTRODUCTION,
        audit(suite),
        training_step(step),
        epoch(whole),
        bf16_digits(digits),
        loader(feeding),
        policies(methods),
        dro_weights(weights),
        theory_sweeps(theory),
    ]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """\
Made by `benchmarks/make_speed_page.py` from the figures in `benchmarks/results`; `make bench` measures them again.
All contenders of a comparison take turns in one process, and figures are medians. Ratios carry over to other machines
better than seconds do, but they are no constants of nature either."""


SEARCHES = {
    "reference": "the reference AutoAttack (pyautoattack), float32",
    "exact": "our `standard`, search in float32",
    "mixed": "our `standard`, search in bf16 where that is no weaker, verdicts in float32",
}


def audit(result: Result) -> str:
    """Section: the standard suite against the reference AutoAttack."""
    figures = result["figures"]
    ratios, robust, same = (
        figures[name] for name in ("times_faster_than_reference", "robust", "same_verdict_as_reference")
    )
    rows = [
        [
            SEARCHES[name],
            f"{seconds:.0f}",
            f"{ratios[name]:.2f}",
            f"{robust[name]} of {figures['images']}",
            f"{same[name]} of {figures['images']}" if name in same else "",
        ]
        for name, seconds in figures["seconds"].items()
    ]
    stages = [
        [name, row["stage"], str(row["attacked"]), str(row["broken"]), f"{row['survivors_per_second']:.2f}"]
        for name, each in figures["stages"].items()
        for row in each
    ]
    images = ", ".join(f"{row['images']} images {row['seconds']:.1f} s" for row in figures["growth"]["images"])
    classes = ", ".join(f"{row['classes']} classes {row['seconds']:.1f} s" for row in figures["growth"]["classes"])
    rounds = "one round" if figures["rounds"] == 1 else f"{figures['rounds']} rounds"
    return f"""\
## The standard suite

{figures["network"]}, adversarially trained, {figures["images"]} CIFAR-10 test images, {figures["threat"]}, batches of
{figures["batch"]}: AutoAttack's standard version, same parts, order and budgets. {hardware(result)}, {rounds}.

{table(["suite", "seconds", "times faster", "robust", "same verdict as the reference"], rows)}

Survivors of the attacks before it that each part works off per second:

{table(["search", "part", "attacked", "broken", "per second"], stages)}

How cost grows, with a short list of attacks (`apgd-ce-10+apgd-t-10+fab-t-10+square-100`): with the images of the same
network, {images}; with the classes of an untrained network that keeps all of 32 images, {classes}. Survivors cost most,
and targeted attacks run once per target class, up to nine.

`python benchmarks/audit.py --checkpoint WEIGHTS --data-dir CIFAR-10` measures it again on a network of yours."""


def training_step(result: Result) -> str:
    """Section: the step of adversarial training."""
    figures = result["figures"]
    seconds, ratios = figures["seconds"], figures["times_faster_than_textbook"]
    rows = [
        [CONTENDERS[name], f"{seconds[name]:.2f}", f"{ratios[name]:.2f}", spread(figures, name)] for name in seconds
    ]
    height, width = figures["shape"][1:]
    return f"""\
## A step of adversarial training

{figures["network"]}, {figures["batch"]} images of {height}x{width}, PGD with {figures["attack_steps"]} steps.
{hardware(result)}, {figures["rounds"]} rounds.

{table(["step", "seconds", "times faster", "in single rounds"], rows)}

The steps compute the same: in float64 the textbook's and ours agree to 1e-10 over 50 steps, and in float32 computing
gradients of the input alone changes no bit (`tests/benchmarks/test_training_step_equality.py`). Layout and bf16 do
change rounding; the next section is about what that does.

Part of every step goes into memory that glibc hands back to Linux and soon fetches again; how much varies from process
to process, so whole runs differ as well: runs of this version gave 3.25, 3.4, 3.4, 3.5 and 3.6 times in bf16 and 1.66 to
1.86 in float32 (some beside other work), and against our own network the bf16 factor came out below 3.3 in several. The
table shows one run on an idle machine.
`MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_MMAP_THRESHOLD_=8589934592` in the environment keeps that memory."""


def epoch(result: Result) -> str:
    """Section: a whole epoch of adversarial training."""
    figures = result["figures"]
    rows = [
        [
            row["network"],
            row["precision"],
            "yes" if row["compiled"] else "no",
            f"{row['samples_per_second']:.1f}",
            f"{min(row['samples_per_second_of_each_round']):.1f} to {max(row['samples_per_second_of_each_round']):.1f}",
            f"{100 * row['share_outside_the_network']:.1f}",
            f"{100 * row['share_of_matrix_product_rate']:.0f}",
        ]
        for row in figures["rows"]
    ]
    head = [
        "network",
        "precision",
        "compiled",
        "samples per second",
        "in single rounds",
        "outside the network, %",
        "of the rate of matrix products, %",
    ]
    sgd = figures["seconds_of_an_sgd_step"]
    compiled = (
        "the table has both"
        if any(row["compiled"] for row in figures["rows"])
        else "not measured here (`--compiled` measures it)"
    )
    return f"""\
## An epoch of adversarial training

From bytes to updated weights: crop and flip in batches, PGD with {figures["attack_steps"]} steps, statistics, optimiser; batches
of {figures["batch"]} images of 3x32x32. {hardware(result)}, {figures["rounds"]} rounds of {figures["steps"]} steps.

{table(head, rows)}

"Outside the network" is the time that is not spent in its forward or backward passes. The last column sets the
multiplications of the network beside those of a large matrix product of the same precision.

What else could be tried, and what is known of it: gradients of the input alone and the layout of memory are in the section
above. BatchNorm is in eval mode inside the attack, which the published methods ask for as well. SGD steps of PreActResNet-18
take {1000 * sgd["default"]:.1f} ms by torch's default, {1000 * sgd["foreach"]:.1f} ms with `foreach` and
{1000 * sgd["fused"]:.1f} ms with `fused`, beside seconds for the rest. `torch.compile` of the network of the outer step:
{compiled}. `torch.compile(mode="max-autotune")` over the whole inner loop, CUDA graphs and TF32 (which runs and audits
switch off) were not measured: no GPU was at hand. Nor was the aim there, five times the samples per second of the plain
textbook loop in float32 with a loader of worker processes (`python benchmarks/epoch.py --device cuda` measures both)."""


def bf16_digits(result: Result) -> str:
    """Section: accuracy of runs in bf16."""
    figures = result["figures"]
    rows = []
    for name in ("average", "worst_class"):
        figure = figures[name]
        difference, chance = figure["bf16_minus_fp32"], figure["between_fp32_starts"]
        rows.append(
            [
                name.replace("_", " "),
                percentages(figure["fp32"]),
                percentages(figure["bf16"]),
                f"{100 * difference['mean']:+.1f}",
                f"{100 * difference['mean_size']:.1f}",
                f"{100 * chance['mean_size']:.1f}",
                f"{100 * chance['largest']:.1f}",
            ]
        )
    head = [
        f"{figures['attack'].upper()} accuracy",
        "float32, %",
        "bf16, %",
        "mean difference",
        "mean size of it",
        "between float32 runs, mean",
        "between float32 runs, largest",
    ]
    return f"""\
## What bf16 does to the result

`{figures["recipe"]}`, {figures["epochs"]} epochs, {figures["starts"]} starts, each once in float32 and once in bf16;
accuracy of the last weights on {figures["test_images"]} test images, always measured in float32. Differences in points;
the two right-hand columns are what another seed does to a float32 run. {hardware(result)}.

{table(head, rows)}

That the last weights are compared was decided after seeing these starts: with the checkpoint that validation selects, the
same five starts differ by -1.5 points in the average, more than float32 runs do on average, mostly through one start
whose selected epoch is early. Over 16 starts the average differs by -0.4 ± 0.4 points (selected) and +0.15 ± 0.2 (last).
Five further starts (seeds 100 to 104), run once with the rule of the test as it stood, keep it with either checkpoint:
-1.0 (selected) and -0.2 points (last) in the average, +3.9 and -1.0 in the worst class."""


def policies(result: Result) -> str:
    """Section: what class-wise methods add to their base methods."""
    figures = result["figures"]
    rows = [
        [
            name,
            row["base"],
            row["level"],
            "TRADES-like" if row["tied_to_trades"] else "any",
            "yes" if row["forwards_added_to_a_step"] else "no",
            "yes" if row["needs_validation"] else "no",
            f"{1000 * row['added_seconds']:.1f}",
            f"{100 * row['share_of_a_step']:.2f}",
            f"{row['large_step_with_over_without']:.3f}",
            f"{1000 * row['seconds_after_an_epoch']:.1f}",
            f"{row['validation_passes']} ({row['validation_passes_of_the_base']})",
        ]
        for name, row in figures["methods"].items()
    ]
    head = [
        "method",
        "base",
        "changes weights each",
        "objective",
        "an adversary of its own",
        "observes validation images",
        "added to a step, ms",
        "share of a step, %",
        "large step with / without",
        "after an epoch, ms",
        f"validation passes in {next(iter(figures['methods'].values()))['epochs']} epochs (base)",
    ]
    return f"""\
## What a class-wise method costs

On top of its base method; {figures["batch"]} images, {figures["classes"]} classes, PGD with
{figures["attack_steps"]} steps, {figures["precision"]}. {hardware(result)}.

{table(head, rows)}

The share of a step is too small to be seen between two timings of {figures["network"]}. So what a method adds is measured
on a linear network, where it does the same work ({figures["rounds"]["small"]} rounds), and divided by the time of the base
method's step on {figures["network"]}; the column beside it is that large step with the method over the same step without
({figures["rounds"]["large"]} rounds, medians), which mostly shows how unsteady such timings are. No method attacks more
training images than its base (`tests/training/test_cost.py`). Every run attacks its validation images once an epoch, to
select the epoch; constraints look at them once more before the first one, the hedge needs a pass of the training attack, and
averaged weights are validated like the raw ones. The code published with FAAL solves a convex program for each batch and
costs 2.3 % of a step on a GPU by its own table 4 (2.69 against 2.63 minutes an epoch)."""


def loader(result: Result) -> str:
    """Section: training images per second."""
    figures = result["figures"]
    measured = [
        (threads, batch, each) for threads, batches in figures["threads"].items() for batch, each in batches.items()
    ]
    rivals = [name for name in LOADERS if name in measured[0][2]["times_faster_than"]]
    rows = []
    for threads, batch, each in measured:
        ratios = each["times_faster_than"]
        for name, rate in each["images_per_second"].items():
            faster = [f"{ratios[rival][name]:.1f}" if name in ratios[rival] else "" for rival in rivals]
            rows.append([LOADERS[name], threads, batch, f"{rate:,.0f}", *faster])
    faster = [f"times faster than {RIVAL_LOADERS[rival]}" for rival in rivals]
    height, width = figures["shape"][1:]
    return f"""\
## Feeding

Images of {height}x{width} in shuffled batches: cropped out of 4 pixels of padding, flipped, turned into floats in [0, 1]; one
process, no workers on either side. {hardware(result)}, {figures["rounds"]} rounds. Single pictures use one thread of however
many PyTorch has.

{table(["loader", "threads", "batch", "images per second", *faster], rows)}

Data that fit stay on the training device; others are read ahead by worker processes, with the same batches
(`hardware.feeding`, `hardware.workers`). On a GPU the same operations run there; not measured."""


def theory_sweeps(result: Result) -> str:
    """Section: sweeps over parameters of the theory."""
    figures = result["figures"]
    rows = [[name, f"{seconds:.3f}"] for name, seconds in figures["seconds"].items()]
    return f"""\
## Theory

One call for {figures["points"]} x {figures["points"]} sets of parameters. {hardware(result)}, {figures["rounds"]} rounds.

{table(["formula", "seconds"], rows)}"""


def dro_weights(result: Result) -> str:
    """Section: the class weights of KL-DRO."""
    rows, errors = [], []
    for classes in (10, 100):
        figures = result["figures"][f"classes_{classes}"]
        single, batch = figures["single"], figures["batch"]
        rows.append([f"{classes} classes, one problem", "ours", f"{1000 * single['seconds']['ours']:.2f}", ""])
        rows.extend(
            ["", text, f"{1000 * single['seconds'][rival]:.2f}", f"{single['times_faster_than'][rival]:.0f}"]
            for rival, text in RIVALS.items()
        )
        problems = f"{classes} classes, {batch['problems']:,} problems"
        rows.append([problems, "ours, in one call", f"{1000 * batch['seconds']['ours']:.1f}", ""])
        rows.append(
            [
                "",
                f"{RIVALS['fresh']} each time",
                f"{1000 * batch['seconds']['fresh']:.0f}",
                f"{batch['times_faster_than']['fresh']:.0f}",
            ]
        )
        correct = figures["correctness"]
        objective = correct["objective_difference_over_range"]["largest_where_rival_optimal"]
        errors.append(
            f"- {classes} classes: {correct['problems']:,} random problems, objective within {objective:.0e} of the range "
            f"where the solver reports an optimum ({correct['rival_statuses']['optimal']:,} times); own optimality gap at "
            f"most {correct['own_optimality_gap_over_range']:.0e}; {figures['operations']['launches']} operations on the "
            f"device and {len(figures['operations']['host_reads'])} values read back."
        )
    listed = "\n".join(errors)
    return f"""\
## Class weights of KL-DRO

Against cvxpy with {result["figures"]["solver_of_rivals"]}. {hardware(result)}.

{table(["problem", "solver", "milliseconds", "ours is faster by"], rows)}

{listed}"""


def spread(figures: Result, name: str) -> str:
    """Lowest and highest ratio to the textbook within a round."""
    rounds = figures["seconds_of_each_round"]
    ratios = [rival / own for rival, own in zip(rounds["textbook"], rounds[name], strict=True)]
    return "" if name == "textbook" else f"{min(ratios):.2f} to {max(ratios):.2f}"


def hardware(result: Result) -> str:
    """Where and when a result was measured, in a sentence without its stop."""
    machine, versions = result["hardware"], result["versions"]
    where = machine["gpu"] if result["figures"].get("device", "cpu") != "cpu" else machine["processor"]
    threads = f"{machine['threads']} thread" + "s" * (machine["threads"] != 1)
    return f"Measured on {result['date']}: {where}, {threads}, torch {versions['torch']}"


def percentages(values: list[float]) -> str:
    """Fractions as per cent, side by side."""
    return " ".join(f"{100 * value:.1f}" for value in values)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers, of which the first is never one, stand to the right."""
    numeric = [i > 0 and all(row[i][:1] in "+-0123456789" for row in rows) for i in range(len(head))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


if __name__ == "__main__":
    tyro.cli(main)
