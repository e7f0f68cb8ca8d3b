"""What docs/audits.md names exists."""

import re
from pathlib import Path

import pytest

from classwise.attacks import attack_list, describe
from classwise.cli.audit import Flags
from classwise.cli.gate import FIGURES
from classwise.models.named import network_named

PAGE = (Path(__file__).parents[2] / "docs" / "audits.md").read_text(encoding="utf-8")
TABLE = PAGE.split("## Suites")[1].split("###")[0]


def test_every_suite_and_attack_of_the_table_is_known() -> None:
    first_cells = [line.split("|")[1] for line in TABLE.splitlines() if line.startswith("| `")]
    names = [name.replace("STEPS", "20") for cell in first_cells for name in re.findall(r"`([a-zA-Z0-9-]+)`", cell)]
    assert len(names) >= 10
    for name in names:
        if name != "-20":  # the suffix itself
            assert describe(attack_list(name)) == name


def test_quick_is_what_the_page_says() -> None:
    assert attack_list("quick") == attack_list("apgd-ce-20+cw-20")


def test_flags_and_figures_of_the_page_exist() -> None:
    commands = [line for line in PAGE.splitlines() if line.startswith("classwise audit ")]
    assert len(commands) >= 4
    flags = {flag.replace("-", "_") for line in commands for flag in re.findall(r" --([a-z-]+)", line)}
    assert flags <= set(Flags.__dataclass_fields__)
    for figure in re.findall(r"--fail-under ([a-z-]+)=", PAGE):
        assert figure in FIGURES


@pytest.mark.parametrize(
    "word", ["resnet20", "resnet-cifar,depth=32", "preact-resnet18", "small-cnn", "timm:resnet18,pretrained=true"]
)
def test_networks_of_the_page_are_known(word: str) -> None:
    assert word in PAGE
    assert network_named(word).registered_name
