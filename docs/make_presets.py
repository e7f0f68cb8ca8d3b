"""Write ``docs/presets.md``: every key in which the presets of a paper differ, and the 45 places behind them.

python docs/make_presets.py
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classwise import registry
from classwise.configuration import to_plain
from classwise.recipes.disagreements import DISAGREEMENTS, Disagreement
from classwise.training import TrainConfig

PAGE = Path(__file__).parent / "presets.md"
SUFFIXES = {"recommended": "", "paper": "-paper", "published code": "-published-code"}
"""Column → what a recipe's name ends in."""
SECTIONS = {
    "frl": ("FRL (ICML 2021)", ("FRL",)),
    "cfa": ("CFA (CVPR 2023)", ("CFA",)),
    "faal": ("FAAL (CVPR 2024)", ("FAAL",)),
    "mixup": ("Domain mixup", ("mixup",)),
    "companions": ("Companions", ("WAT", "DAFA", "VAR", "FAT", "AWP", "MART", "all", "SVHN")),
}
"""Module of recipes → its heading, and the groups of disagreements that belong there."""
ABSENT = "–"

HEAD = """# Presets: recommended, paper, published code

Made by `docs/make_presets.py` from the recipes themselves. Papers and the code published with them disagree, so a method
has up to three recipes: `NAME` is recommended, `NAME-paper` sets every key to what is printed, `NAME-published-code` to
what was released. Where a source says nothing about a key, its preset has the recommended value. `classwise recipes NAME`
shows a whole configuration.

The tables hold the keys in which the recipes of a family differ ("all": every recipe of the table); – marks a preset that
does not exist, since no code was published or the text was not read. All recipes are on CIFAR-10 and one network; where a
paper used another, the recipe's text says so. With `classwise finetune` data, split, network, radius, augmentation, batch
size, validation attack and hardware are those of the run that is repaired, whatever the preset says, unless they are given
by hand.

No preset re-enacts the following.

- Choosing a checkpoint on test images (CFA, FAAL). Validation images decide. The presets of the published code keep the
  checkpoints that were to choose from, so that `picked_on_test` in `classwise.picked` can compute that row afterwards and
  call it what it is.
- Normalised input (CFA, FAAL, AWP; mixup). Attacks and networks see pixels in [0, 1].
- Further forwards in train mode, which only BatchNorm's running statistics can tell: a second one of the clean images
  (TRADES, FRL), one after the step for logging (CFA), clean images that the loss does not use (FAAL on adversarial
  training).
- An attack in whichever mode the code before it left the network (AWP).
- The second, plain attack step of DAFA's code, which undoes its radii per class; the product of both temperatures in
  both branches of ABSLD's code.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as text."""
    return "\n".join([HEAD, *(line for module in SECTIONS for line in section(module))])


def section(module: str) -> Iterator[str]:
    """Lines about the recipes of one module."""
    heading, groups = SECTIONS[module]
    families = families_of(module)
    yield f"## {heading}\n"
    single = [name for name in families if len(presets(name)) == 1]
    varied = [name for name in families if name not in single]
    yield f"| key | recipe | {' | '.join(SUFFIXES)} |"
    yield f"| --- | --- | {' | '.join('---' for _ in SUFFIXES)} |"
    for (key, values), names in merged(varied).items():
        named = "all" if names == varied and len(names) > 1 else ", ".join(f"`{name}`" for name in names)
        yield f"| `{key}` | {named} | {' | '.join(values)} |"
    yield ""
    if single:
        yield f"One recipe without variants each: {', '.join(f'`{name}`' for name in single)}.\n"
    yield "| no. | about | what the sources say | here | keys |"
    yield "| ---: | --- | --- | --- | --- |"
    for group in groups:
        for item in DISAGREEMENTS[group]:
            yield f"| {item.number} | {group} | {item.about} | {item.ours} | {places(item)} |"
    yield ""


def families_of(module: str) -> list[str]:
    """Names of the recommended recipes of a module, sorted."""
    named = {name: registry.get("recipe", name).__module__ for name in registry.names("recipe")}
    own = [name for name, home in named.items() if home == f"classwise.recipes.{module}"]
    return [name for name in own if not name.endswith((SUFFIXES["paper"], SUFFIXES["published code"]))]


def presets(family: str) -> dict[str, dict[str, Any]]:
    """Configurations of a family that exist, by column; each maps dotted keys to values."""
    known = registry.names("recipe")
    makers = {column: registry.get("recipe", family + end) for column, end in SUFFIXES.items() if family + end in known}
    return {column: dict(flat(to_plain(make()))) for column, make in makers.items()}


def flat(plain: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a configuration in plain form; members of a list of components count from 0."""
    if isinstance(plain, list) and plain and isinstance(plain[0], dict):
        plain = dict(enumerate(plain))
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from flat(value, f"{where}.{key}".lstrip("."))
    else:
        yield where, plain


def merged(families: list[str]) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Rows of the table: key and its values by column → the recipes that have them; rows of one key stand together."""
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for family in families:
        known = presets(family)
        for key in known["recommended"]:
            if all(key in each for each in known.values()):
                values = tuple(shown(known[column][key]) if column in known else ABSENT for column in SUFFIXES)
                if len({*values} - {ABSENT}) > 1:
                    rows.setdefault((key, values), []).append(family)
    keys = list(dict.fromkeys(key for key, _ in rows))
    axes = [field.name for field in dataclasses.fields(TrainConfig)]
    in_order = sorted(rows, key=lambda row: (axes.index(row[0].partition(".")[0]), keys.index(row[0])))
    return {row: rows[row] for row in in_order}


def shown(value: Any) -> str:
    """A value as a cell; long runs of numbers are abridged."""
    if isinstance(value, list):
        if len(value) > 4 and value == list(range(value[0], value[-1] + 1)):
            return f"every one of {value[0]} to {value[-1]}"
        return ", ".join(str(each) for each in value) or "none"
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)


def places(item: Disagreement) -> str:
    """Where a disagreement shows in the presets."""
    keys = ", ".join(f"`{key}`" for key in item.keys)
    return f"{keys} of `{item.recipe}`" if keys else ""


if __name__ == "__main__":
    main()
