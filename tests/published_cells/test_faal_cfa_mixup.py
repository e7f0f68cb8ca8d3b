"""What the tables of CFA, FAAL and domain mixup imply among themselves: a misread cell would break one of these."""

import math

import pytest

from classwise.published import cells

Table = dict[tuple[str, str], float]


def table(paper: str, name: str, prose: bool = False) -> Table:
    """Legible numbers of a table by row and column: those printed in it, or those of running text about it."""
    return {
        (each.row, each.column): each.value
        for each in cells(paper, name)
        if each.value is not None and each.row.startswith("text: ") == prose
    }


def rows(found: Table) -> list[str]:
    return list(dict.fromkeys(row for row, _ in found))


@pytest.mark.parametrize(
    ("paper", "name", "pairs"),
    [
        *(("cfa", "table1", 44), ("cfa", "table2", 8), ("cfa", "table3", 6), ("cfa", "table4", 36)),
        *(("faal", "table1", 80), ("faal", "table2", 14), ("faal", "table3", 20)),
    ],
)
def test_worst_classes_lie_below_the_average_and_attacked_accuracy_below_clean(
    paper: str, name: str, pairs: int
) -> None:
    found = table(paper, name)
    compared = 0
    for (row, column), value in found.items():
        kind, _, over = column.partition(" accuracy, ")
        if over.startswith("worst"):
            assert value < found[row, f"{kind} accuracy, average"], (row, column)
            compared += 1
        if kind != "clean" and over:
            assert value < found.get((row, f"clean accuracy, {over}"), 100), (row, column)
    assert compared == pairs


def test_no_single_attack_of_faal_is_stronger_than_autoattack() -> None:
    found = table("faal", "table1")
    single = [(row, column) for row, column in found if column.startswith(("PGD-20", "CW-20"))]
    assert len(single) == 80
    for row, column in single:
        assert found[row, f"AA{column[column.index(' ') :]}"] < found[row, column], (row, column)


@pytest.mark.parametrize(("name", "images", "count"), [("table1", 1000, 80), ("table2", 1000, 14), ("table3", 100, 20)])
def test_worst_classes_of_faal_are_whole_counts_of_test_images(name: str, images: int, count: int) -> None:
    # So every cell is one run: a mean over several would rarely be a whole count.
    worst = {key: value for key, value in table("faal", name).items() if key[1].endswith("worst class")}
    assert len(worst) == count
    for key, value in worst.items():
        assert math.isclose(value * images / 100, round(value * images / 100), abs_tol=1e-9), key


@pytest.mark.parametrize(
    ("name", "repeated"),
    [("table2", ["AT", "TRADES", "FAT"]), ("table3", ["AT + EMA", "TRADES + EMA", "FAT + EMA"])],
)
def test_ablations_of_cfa_repeat_rows_of_its_first_table(name: str, repeated: list[str]) -> None:
    first, ablation = table("cfa", "table1"), table("cfa", name)
    for row in repeated:
        for over in ("average", "worst class"):
            assert ablation[row, f"AA accuracy, {over}"] == first[f"best / {row}", f"AA accuracy, {over}"], (row, over)


@pytest.mark.parametrize("base", ["AT", "TRADES"])
def test_faal_takes_its_rows_of_cfa_from_cfa(base: str) -> None:
    here, there = table("faal", "table2"), table("cfa", "table1")
    columns = [column for row, column in here if row == f"CFA-{base}"]
    assert len(columns) == 4
    for column in columns:
        assert round(here[f"CFA-{base}", column], 1) == there[f"best / {base} + CFA", column], column


def test_epochs_of_fine_tuning_are_stored_for_all_that_is_fine_tuned() -> None:
    found = table("faal", "table1")
    assert len(rows(found)) == 20
    for row in rows(found):
        expected = {"untouched": None, "FRL-RWRM": 80, "FAAL-AT": 2, "FAAL-AT-AWP": 2}[
            row.split(" / ")[1].split(" ")[0]
        ]
        assert found.get((row, "fine-tuning epochs")) == expected, row


def test_an_epoch_of_faal_costs_least_of_the_methods_with_class_weights() -> None:
    found = table("faal", "table4")
    columns = list(dict.fromkeys(column for _, column in found))
    for column in columns:
        times = {row: found[row, column] for row in rows(found)}
        assert times.pop("TRADES") < min(times.values()), column
        assert min(times, key=times.__getitem__) == "FAAL", column
        assert max(times, key=times.__getitem__) == "WAT", column
    assert [found["FAAL", each] / found["TRADES", each] - 1 for each in columns] == pytest.approx(
        [0.0228, 0.0187], abs=1e-4
    )


def differences(paper: str, name: str, pairs: list[tuple[str, str]], over: str) -> list[float]:
    """By how many points AutoAttack accuracy of the first row of each pair lies above that of the second."""
    found = table(paper, name)
    return [round(found[one, f"AA accuracy, {over}"] - found[other, f"AA accuracy, {over}"], 2) for one, other in pairs]


EMA = [(f"best / {base} + CFA", f"best / {base} + EMA") for base in ("AT", "TRADES", "FAT")]
FRL = [(f"best / {method}", "best / TRADES + EMA") for method in ("FRL", "FRL + EMA")]
CFA = [("best / TRADES + CFA", "best / FRL + EMA")]
FAWA = [(f"{base} + FAWA", f"{base} + EMA") for base in ("AT", "TRADES", "FAT")]
# Against that of the two FRL rows which has the better worst class.
FAAL = [
    (f"{start} checkpoint / FAAL-AT", f"{start} checkpoint / FRL-RWRM tau {tau}")
    for start, tau in (("PGD-AT", "0.05"), ("MART", "0.05"), ("TRADES-AWP", "0.07"))
]


@pytest.mark.parametrize(
    ("paper", "name", "pairs", "over", "printed", "measured"),
    [
        ("cfa", "table1", EMA, "worst class", 2, [3.1, 2.3, 2.6]),  # "more than": so it is
        ("cfa", "table1", FRL, "worst class", 2, [1.2, 1.4]),  # "less than": so it is
        ("cfa", "table1", FRL, "average", 3, [-3.8, -3.6]),  # "about" 3 lost: rather 4
        ("cfa", "table1", CFA, "average", 4, [4.0]),
        ("cfa", "table1", CFA, "worst class", 1, [0.9]),
        ("cfa", "table3", FAWA, "worst class", 2, [1.8, 0.9, 1.6]),  # "nearly": on average 1.4
        ("cfa", "table3", FAWA, "average", 0.3, [-0.3, -0.3, -0.1]),  # "less than" 0.3 lost: in one of three rows
        (
            "faal",
            "table1",
            FAAL,
            "worst class",
            2.6,
            [2.6, 2.3, 2.0],
        ),  # "approximately", of all three: the largest of them
    ],
)
def test_what_the_prose_says_of_a_table_beside_the_table(
    paper: str, name: str, pairs: list[tuple[str, str]], over: str, printed: float, measured: list[float]
) -> None:
    claims = [
        value for (_, column), value in table(paper, name, prose=True).items() if f"AA accuracy, {over}, " in column
    ]
    assert printed in claims
    assert differences(paper, name, pairs, over) == measured


def test_the_prose_of_mixup_contradicts_itself_whichever_way_round_its_deviations_belong() -> None:
    found = table("mixup", "table1", prose=True)
    at, mixed = rows(found)
    largest = {row: found[row, "adversarial risk, worst class"] / 100 for row in (at, mixed)}
    spread = {row: found[row, "adversarial risk, standard deviation over classes"] for row in (at, mixed)}
    # Ten numbers in [0, m] deviate by at most m / 2, by m / 2 * sqrt(10 / 9) if divided by nine: half of them 0, half m.
    limit = {row: largest[row] / 2 * math.sqrt(10 / 9) for row in largest}
    assert spread[at] < limit[at] < spread[mixed]
    assert limit[mixed] < min(spread.values())
    assert not table("mixup", "table1")  # the table itself is lost
