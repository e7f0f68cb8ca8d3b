"""Presets against the sources: schedules of the published code, figures of the papers."""

import json
import re
from pathlib import Path

import pytest

from classwise import registry
from classwise.recipes import recipe


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, list]:
    """Schedules of the published code, epoch by epoch."""
    return json.loads((shared / "fixtures" / "methods" / "lr_schedules.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("cfa-at-published-code", "cfa_prn_200"),
        ("trades", "trades_100"),
        ("mart", "mart_resnet_120"),
        ("fat", "fat_120"),
        ("dafa", "dafa_110"),
        ("wat-published-code", "wat_100"),
        ("var-at-published-code", "varreg_120"),
    ],
)
def test_learning_rates_are_those_of_the_published_code(published: dict[str, list], name: str, schedule: str) -> None:
    """Epoch by epoch, as far as the recipe goes (TRADES: its script ends before its schedule does)."""
    rates, config = published[schedule], recipe(name)
    ours = [config.optimizer.lr * config.schedule.factor(epoch, config.epochs) for epoch in range(config.epochs)]
    assert ours == pytest.approx(rates[: config.epochs], rel=1e-9)
    assert len(rates) == (100 if name == "trades" else config.epochs)


def test_budgets_of_friendly_attacks_are_those_of_the_published_code(published: dict[str, list]) -> None:
    attack = recipe("fat").adversary
    assert [attack.at_epoch(epoch).budget for epoch in range(120)] == published["fat_tau_120"]  # type: ignore[attr-defined]


def test_rates_of_frl_are_those_of_the_published_code(published: dict[str, list]) -> None:
    rows = published["frl_rmrw_epoch_rate1_rate2_lr"]
    config = recipe("frl-rmrw-published-code")
    weights, margin = config.policy.members  # type: ignore[attr-defined]
    for epoch, (number, rate, margin_rate, lr) in enumerate(rows[: config.epochs]):
        assert number == epoch + 1
        drops = sum(epoch >= drop for drop in weights.decay_epochs)
        assert weights.rate_clean * weights.rate_decay**drops == pytest.approx(rate)
        assert margin.rate == pytest.approx(2 * margin_rate)
        assert config.optimizer.lr * config.schedule.factor(epoch, config.epochs) == pytest.approx(lr)


def test_figures_quoted_in_recipes_are_in_the_papers(shared: Path) -> None:
    """As printed, or rounded to one place."""
    papers = " ".join(path.read_text(encoding="utf-8") for path in (shared / "papers").glob("*.txt"))
    printed = {float(figure) for figure in re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", papers)}
    known = printed | {round(figure, 1) for figure in printed}
    quoted = 0
    for name in registry.names("recipe"):
        for pair in re.findall(r"(\d\d\.\d+)\s*/\s*(\d\d\.\d+)", registry.get("recipe", name).__doc__ or ""):
            quoted += 1
            assert {float(figure) for figure in pair} <= known, (name, pair)
    assert quoted >= 22
