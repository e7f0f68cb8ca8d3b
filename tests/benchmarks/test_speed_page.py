"""The page on speed says what the stored figures say."""

from pathlib import Path

import make_speed_page

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_stored_figures_make() -> None:
    written = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert written == make_speed_page.page(ROOT / "benchmarks" / "results"), "run benchmarks/make_speed_page.py"


def test_figures_reach_the_page() -> None:
    result = {
        "date": "2030-01-02",
        "versions": {"torch": "9.9"},
        "hardware": {"processor": "Abacus", "threads": 1, "gpu": None},
        "figures": {
            "device": "cpu",
            "network": "Net",
            "batch": 7,
            "shape": [3, 32, 32],
            "attack_steps": 10,
            "rounds": 2,
            "seconds": {"textbook": 9.0, "loop_bf16": 2.0},
            "seconds_of_each_round": {"textbook": [8.0, 10.0], "loop_bf16": [2.0, 2.0]},
            "times_faster_than_textbook": {"textbook": 1.0, "loop_bf16": 4.5},
        },
    }
    text = make_speed_page.training_step(result)
    assert "| our step in bf16 | 2.00 | 4.50 | 4.00 to 5.00 |" in text
    assert "Measured on 2030-01-02: Abacus, 1 thread, torch 9.9" in text
