"""Cells of the tables on effects: what one method gave from one start, image by image, as a small file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from effects_figures import Bools, Ints
from report import write_result

PLAN = "plan.json"
"""What all cells of a folder have in common."""


def packed(outcomes: Bools) -> str:
    """Outcomes (n,) as hexadecimal text, four to a letter."""
    return np.packbits(outcomes).tobytes().hex()


def unpacked(text: str, n: int) -> Bools:
    """Inverse of :func:`packed`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=n).astype(bool)


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished cell.

    Attributes:
        method: Its name.
        seed: Number of its start.
        clean: Whether each test image is classified correctly, (n,).
        robust: Whether it is so without and under attack, (n,).
        facts: Everything else that was written: base, epochs, since when the policy acted, seconds, configuration.
        result: The whole file, with date, versions and hardware.
    """

    method: str
    seed: int
    clean: Bools
    robust: Bools
    facts: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """The cells of one table: ``<method>-<seed>.json`` beside ``plan.json``.

    Args:
        path: The folder; it need not exist yet.
    """

    path: Path

    def file(self, method: str, seed: int) -> Path:
        """Where a cell is, or will be."""
        return self.path / f"{method}-{seed}.json"

    def plan(self) -> dict[str, Any] | None:
        """What all cells have in common; None where nothing was begun."""
        file = self.path / PLAN
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def begin(self, plan: dict[str, Any]) -> None:
        """Write the plan, or go on with the one that is there, whose number of starts may grow.

        Raises:
            ValueError: What is there was measured in another way.
        """
        there = self.plan()
        if there is not None:
            mine, theirs = ({k: v for k, v in each.items() if k not in ("starts", "command")} for each in (plan, there))
            different = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
            if different:
                raise ValueError(
                    f"{str(self.path)!r} holds cells of another plan (its {', '.join(different)} differ): give another folder "
                    "with --out, or repeat the options of that one"
                )
            if plan["starts"] <= there["starts"]:
                return
        self._write(self.path / PLAN, json.dumps(plan, indent=2) + "\n")

    def write(self, method: str, seed: int, clean: Bools, robust: Bools, facts: dict[str, Any]) -> None:
        """Write a finished cell; the file is whole or absent."""
        figures = {"method": method, "seed": seed, **facts, "clean": packed(clean), "robust": packed(robust)}
        temporary = self.file(method, seed).with_suffix(".part")
        write_result(f"effects/{self.path.name}", figures, temporary)
        temporary.replace(self.file(method, seed))

    def read(self) -> dict[tuple[str, int], Cell]:
        """All finished cells.

        Raises:
            ValueError: A cell was measured on other images than the plan says.
        """
        plan = self.plan()
        cells: dict[tuple[str, int], Cell] = {}
        if plan is None:
            return cells
        for file in sorted(set(self.path.glob("*.json")) - {self.path / PLAN}):
            result = json.loads(file.read_text(encoding="utf-8"))
            facts = result["figures"]
            if facts["labels_sha256"] != plan["labels_sha256"]:
                raise ValueError(f"{str(file)!r} was measured on other images than its neighbours: measure it again")
            n = plan["test_images"]
            cell = Cell(
                facts["method"],
                facts["seed"],
                unpacked(facts["clean"], n),
                unpacked(facts["robust"], n),
                {key: value for key, value in facts.items() if key not in ("clean", "robust")},
                result,
            )
            cells[cell.method, cell.seed] = cell
        return cells

    @staticmethod
    def labels(plan: dict[str, Any]) -> Ints:
        """Class of every test image, (n,), as the plan has them."""
        return np.frombuffer(bytes.fromhex(plan["labels"]), np.uint8).astype(np.int64)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
