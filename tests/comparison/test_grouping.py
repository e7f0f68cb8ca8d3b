"""Which runs are one row: same recipe, other seed."""

import pytest

from classwise.comparison import overview
from classwise.comparison.find import find
from classwise.configuration import replace
from classwise.recipes import recipe


def labels(paths, **options):
    return {row.label: row.seeds for row in overview(paths, **options).rows}


def test_seeds_of_a_recipe_are_one_row(make_run, tmp_path):
    for seed in (0, 1, 2):
        make_run(f"at-{seed}", changes={"seed": seed})
    make_run("long-0", changes={"epochs": 7})
    assert labels([tmp_path / "runs"]) == {"at": 3, "long": 1}


def test_what_only_keeps_files_or_names_a_device_makes_no_other_recipe(make_run, tmp_path):
    hardware = recipe("digits-pgd-at").hardware
    changes = {"keep_every": 5, "hardware": replace(hardware, device="cpu", threads=3)}
    make_run("at-s0")
    make_run("at-s1", changes={"seed": 1, **changes})
    assert labels([tmp_path / "runs"]) == {"at": 2}
    make_run("at-s2", changes={"seed": 2, "hardware": replace(hardware, precision="bf16")})
    assert labels([tmp_path / "runs"]) == {"at": 2, "at #2": 1}


def test_a_repair_belongs_to_the_recipe_of_its_start_and_follows_it(make_run, tmp_path):
    for seed in (0, 1):
        start = make_run(f"start-{seed}", changes={"seed": seed})
        make_run(f"fix-{seed}", changes={"seed": seed, "start": str(start), "epochs": 2})
    make_run("other-0", changes={"epochs": 5})
    made = overview([tmp_path / "runs"])
    assert [(row.label, row.start, row.depth, row.seeds) for row in made.rows] == [
        ("other", "", 0, 1),
        ("start", "", 0, 2),
        ("fix", "start", 1, 2),
    ]
    assert made.baseline == "start"


def test_runs_that_were_moved_together_find_their_start(make_run, tmp_path):
    for seed in (0, 1):
        start = make_run(f"start-{seed}", changes={"seed": seed})
        make_run(f"fix-{seed}", changes={"seed": seed, "start": str(start), "epochs": 2})
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert labels([tmp_path / "moved"]) == {"start": 2, "fix": 2}


def test_a_run_that_is_there_twice_counts_once_and_is_named(make_run, tmp_path):
    make_run("at-0")
    make_run("copy-0")
    made = overview([tmp_path / "runs"])
    assert [row.seeds for row in made.rows] == [1]
    assert "repeats recipe and seed of" in made.left_out[0]


def test_other_attacks_on_the_same_model_are_columns_wherever_they_lie(make_run, make_audit):
    run = make_run("at-0", fingerprint="f")
    loose = make_audit("cw", attacks="cw-20", fingerprint="f")
    stranger = make_audit("other", attacks="cw-20", fingerprint="g")
    words = "at-0 (raw weights, after epoch 1)"
    (loose / "summary.json").write_text(
        (loose / "summary.json").read_text().replace('"model": "cw"', f'"model": "{words}"')
    )
    models, _ = find([run, loose, stranger])
    assert [(model.name, len(model.audits)) for model in models] == [("at-0", 2), ("other", 1)]


def test_rows_of_the_same_name_are_told_apart(make_run, tmp_path):
    make_run("at-0")
    make_run("deeper/at-0", changes={"epochs": 9})
    assert set(labels([tmp_path / "runs"])) == {"at", "at #2"}


def test_what_is_not_audited_or_damaged_is_named_where_it_was_searched_for_and_refused_where_it_was_named(
    make_run, tmp_path
):
    make_run("a-0")
    bare, broken = make_run("b-0", changes={"epochs": 2}), make_run("c-0", changes={"epochs": 3})
    for file in (bare / "audits" / "a0").iterdir():
        file.unlink()
    (broken / "audits" / "a0" / "outcomes.npz").write_bytes(b"")
    made = overview([tmp_path / "runs"])
    assert [row.label for row in made.rows] == ["a"]
    said = " ".join(made.left_out)
    assert "b-0' has no finished audit: run classwise audit" in said
    assert "damaged" in said
    with pytest.raises(ValueError, match="no finished audit"):
        overview([bare])


def test_a_circle_of_starts_is_refused(make_run):
    first = make_run("one-0")
    second = make_run("two-0", changes={"start": str(first)})
    config = first / "config.yaml"
    config.write_text(config.read_text().replace("start: ''", f"start: {second}"))
    with pytest.raises(ValueError, match="from itself"):
        overview([first])


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_with_nothing_in_it_is_refused(made, tmp_path):
    if made:
        (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds neither" if made else "does not exist"):
        overview([tmp_path / "empty"])
