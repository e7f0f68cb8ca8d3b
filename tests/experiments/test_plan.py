"""Plans as data: what is run, in which order, from what, and as which commands."""

import shlex
from pathlib import Path

import pytest

from classwise import registry
from classwise.cli import audit, finetune, train
from classwise.cli.flags import parse
from classwise.experiments import experiment, names
from classwise.experiments.cost import cost
from classwise.experiments.plan import PROBLEM, Plan, commands, plan, write_configs
from classwise.experiments.sizes import SIZES
from classwise.models.named import network_named
from classwise.runs import RunDirectory
from classwise.training import TrainConfig

STARTS = ("wrn-pgd-at", "wrn-trades", "wrn-mart", "wrn-trades-awp")


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", ["small", "short"])
def test_starts_come_first_and_runs_are_unique(name: str, size: str, tmp_path: Path) -> None:
    made = plan(experiment(name), SIZES[size], tmp_path, seeds=2)
    order = [each.name for each in made.networks]
    assert len(set(order)) == len(order) == 2 * len(experiment(name).trainings())
    assert made.left_out == {}
    for place, network in enumerate(made.networks):
        if network.start:
            assert order.index(network.start) < place
            assert network.name.endswith(network.start[-len("-seed0") :])  # a repair starts from its own seed
    assert {each.config.seed for each in made.networks} == {0, 1}
    assert made == plan(experiment(name), SIZES[size], tmp_path, seeds=2)
    for row in experiment(name).rows:
        assert len(made.networks_of(row.training)) == 2


def test_a_repair_takes_its_problem_from_its_start(tmp_path: Path) -> None:
    made = plan(experiment("faal-table3"), SIZES["short"], tmp_path)
    by_name = {each.name: each for each in made.networks}
    start = by_name["cifar100-trades-seed0"]
    repairs = [each for each in made.networks if each.start]
    assert [each.start for each in repairs] == [start.name] * 5
    for repair in repairs:
        assert all(getattr(repair.config, axis) == getattr(start.config, axis) for axis in PROBLEM)
        assert made.config(repair).start == str(tmp_path / "runs" / start.name)
    assert start.config.data.registered_name == "cifar100"


def test_rows_are_chosen_and_what_they_start_from_is_added(tmp_path: Path) -> None:
    chosen = experiment("faal-table1").only(["trades checkpoint / faal-*"])
    assert [row.name for row in chosen.rows] == ["TRADES checkpoint / FAAL-AT", "TRADES checkpoint / FAAL-AT-AWP"]
    made = plan(chosen, SIZES["small"], tmp_path)
    assert [(each.name, len(each.audits)) for each in made.networks] == [
        ("wrn-trades-seed0", 0),
        ("wrn-trades-faal-at-seed0", 3),
        ("wrn-trades-faal-at-awp-seed0", 3),
    ]
    assert [each.attacks for each in made.networks[1].audits] == ["quick", "pgd-20", "cw-20"]
    with pytest.raises(ValueError, match=r"has no row 'nothing'.*TRADES checkpoint / FAAL-AT"):
        experiment("faal-table1").only(["nothing"])


def test_in_the_papers_size_public_checkpoints_are_not_trained_here(tmp_path: Path) -> None:
    whole = experiment("faal-table1")
    with pytest.raises(
        ValueError, match=r"needs the PGD-AT trained WideResNet-34-10: give it as --start wrn-pgd-at=FILE"
    ):
        plan(whole, SIZES["paper"], tmp_path)
    made = plan(whole, SIZES["paper"], tmp_path, seeds=2, files={"wrn-mart": tmp_path / "mart.pt"})
    assert len(made.left_out) == 15
    assert [each.name for each in made.networks] == [
        "wrn-mart",
        *(
            f"wrn-mart-{name}-seed{seed}"
            for name in ("frl-rwrm-tau-0.05", "frl-rwrm-tau-0.07", "faal-at", "faal-at-awp")
            for seed in (0, 1)
        ),
    ]
    assert made.networks[0].file == str(tmp_path / "mart.pt")
    assert {made.config(each).start for each in made.networks[1:]} == {str(tmp_path / "mart.pt")}
    assert {made.config(each).model.registered_name for each in made.networks} == {"wide-resnet"}
    held_out = {each.config.split.at_least for each in made.networks if "frl" in each.name}
    assert held_out == {300}  # as FRL's code, since the file does not say what it was trained on


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds 0 must be at least 1"):
        plan(experiment("faal-table2"), SIZES["small"], tmp_path, seeds=0)
    with pytest.raises(ValueError, match=r"nothing in faal-table1 starts from 'wrn-trads': did you mean 'wrn-trades'"):
        plan(experiment("faal-table1"), SIZES["small"], tmp_path, files={"wrn-trads": "x"})
    with pytest.raises(ValueError, match=r"unknown experiment 'faal-tabel2': did you mean 'faal-table2'"):
        experiment("faal-tabel2")


def test_figures_share_the_runs_of_their_tables(tmp_path: Path) -> None:
    for figure, table in (
        ("faal-figure2", "faal-table1"),
        ("faal-figure3", "faal-table2"),
        ("faal-figure1", "faal-table1"),
    ):
        there = {each.name: each.config for each in plan(experiment(table), SIZES["short"], tmp_path).networks}
        here = {each.name: each.config for each in plan(experiment(figure), SIZES["short"], tmp_path).networks}
        shared = here.keys() & there.keys()
        assert len(shared) >= len(here) - (figure == "faal-figure1")
        assert all(here[name] == there[name] for name in shared)


def test_the_data_folder_goes_where_files_are_read(tmp_path: Path) -> None:
    made = plan(experiment("faal-table4"), SIZES["short"], tmp_path, data_dir=tmp_path / "data")
    assert {each.config.data.folder for each in made.networks} == {str(tmp_path / "data")}
    small = plan(experiment("faal-table4"), SIZES["small"], tmp_path, data_dir=tmp_path / "data")
    assert {each.config.data.registered_name for each in small.networks} == {"digits"}


def understood(line: str, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainConfig, Path]:
    """What ``classwise train`` or ``finetune`` would do, by its own parser."""
    program, verb, *words = shlex.split(line)
    assert program == "classwise"
    seen = []
    module = {"train": train, "finetune": finetune}[verb]
    monkeypatch.setattr(module, "carry_out", lambda config, out, *_: seen.append((config, out)))
    assert module.main(words) == 0
    return seen[0]


def test_commands_say_the_same_as_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(experiment("faal-table3"), SIZES["small"], tmp_path / "a b", seeds=2)
    write_configs(made)
    networks = {str(made.folder(each.name)): each for each in made.networks}
    asked: dict[str, list[tuple[str, str, float]]] = {folder: [] for folder in networks}
    trained = []
    for line in commands(made):
        _, verb, *words = shlex.split(line)
        if verb == "audit":
            flags = parse(audit.Flags, "audit", words)
            threat = (flags.norm, *(float(each) for each in flags.radius))
            assert threat == ("linf", 0.18)
            asked[str(flags.model)].append((flags.checkpoint, flags.attacks, flags.radius[0]))
            assert flags.per_class == 0
            continue
        config, out = understood(line, monkeypatch)
        assert config == made.config(networks[str(out)])
        assert (verb == "finetune") == bool(config.start)
        RunDirectory(out).begin(config)  # as if it had been trained, for what starts from it
        trained.append(str(out))
    assert trained == list(networks)
    assert asked == {
        folder: [(each.checkpoint, each.attacks, each.threat.radius) for each in network.audits]
        for folder, network in networks.items()
    }
    assert sum(map(len, asked.values())) == 20


def test_commands_for_a_file_name_its_network_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "trades.pt"
    weights.touch()
    made: Plan = plan(
        experiment("faal-table1"),
        SIZES["paper"],
        tmp_path,
        data_dir=tmp_path / "data",
        files={"wrn-trades": str(weights)},
    )
    write_configs(made)
    lines = list(commands(made))
    assert len(lines) == 3 + 4 * (1 + 3)
    for line in lines[:3]:
        flags = parse(audit.Flags, "audit", shlex.split(line)[2:])
        assert (flags.model, flags.data, flags.data_dir) == (weights, "cifar10", tmp_path / "data")
        assert network_named(flags.network, where="--network") == made.networks[0].config.model
        assert flags.out is not None
    first, _ = understood(lines[3], monkeypatch)
    assert first == made.config(made.networks[1])
    assert registry.get("model", "wide-resnet")(sub_block=True) == first.model


def test_the_estimate_counts_passes(tmp_path: Path) -> None:
    made = plan(experiment("faal-table2").only(["PGD-AT"]), SIZES["small"], tmp_path)
    seen = []

    def clock(config: TrainConfig, roles: object) -> float:
        seen.append(config.seed)
        return 1e-4

    # 13 steps of 64 images and 11 passes in 20 epochs, 400 validation images at 12 passes each; 596 test images
    # at 42: themselves, 21 of APGD with 20 steps, 20 of the margin attack.
    seconds = 1e-4 * (20 * 13 * 64 * 11 + 20 * 400 * 12)
    audits = 1e-4 * 596 * 42
    assert cost(made, clock) == (
        f"1 trainings of 1 to be done, about {seconds:.0f} s; "
        f"1 audits, at most about {audits:.0f} s for those that are not there yet."
    )
    assert seen == [0]
