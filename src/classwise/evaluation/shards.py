"""An audit in parts, on several machines, and the parts put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classwise import configuration
from classwise.configuration import to_plain
from classwise.data.dataset import ClassData
from classwise.evaluation.check import Check
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import parse_shard
from classwise.evaluation.result import SEAL, AuditResult, Examples
from classwise.evaluation.sanity import outcome_checks

PREFIX = "shard-"
GRAVITY = ("pass", "warn", "fail")


def part(data: ClassData, shard: str) -> ClassData:
    """The images of one part: of eight parts the second has every eighth image from the second on.

    Args:
        data: All images.
        shard: Such as "2/8"; empty for all.

    Raises:
        ValueError: There are more parts than images.
    """
    if not shard:
        return data
    number, total = parse_shard(shard)
    if total > len(data):
        raise ValueError(f"{len(data)} images cannot be cut into {total} parts: use at most {len(data)}")
    return data.subset(torch.arange(number - 1, len(data), total))


def shard_folder(folder: Path, shard: str) -> Path:
    """Where one part is kept: a sub-folder of the whole."""
    if not shard:
        return folder
    number, total = parse_shard(shard)
    return folder / f"{PREFIX}{number}-of-{total}"


def merge(folder: Path) -> AuditResult:
    """Put the parts together that lie in sub-folders of a folder, and save the whole there.

    Raises:
        ValueError: A part is missing or unfinished, or they are parts of different audits.
    """
    found = sorted(folder.glob(f"{PREFIX}*"))
    if not found:
        raise ValueError(f"{str(folder)!r} holds no parts of an audit: give the folder that holds shard-1-of-…")
    unfinished = [each.name for each in found if not (each / SEAL).is_file()]
    if unfinished:
        raise ValueError(
            f"{', '.join(unfinished)} in {str(folder)!r} is not finished: run the same command again first"
        )
    return merged([AuditResult.load(each) for each in found]).save(folder)


def merged(parts: Sequence[AuditResult]) -> AuditResult:
    """One audit from all of its parts.

    Raises:
        ValueError: As for :func:`merge`.
    """
    first = parts[0]
    _check(parts)
    ordered = sorted(parts, key=lambda each: parse_shard(each.plan.shard)[0])
    plan = configuration.replace(first.plan, shard="")
    columns = {
        name: _woven([getattr(each.outcomes, name) for each in ordered], plan.samples) for name in vars(first.outcomes)
    }
    outcomes = Outcomes(**columns)
    weakest = outcomes.table(0, plan.class_names).weakest
    at_hand = [each for each in ordered if each.table().weakest == weakest] or ordered[:0]
    checks = _checks(ordered, outcome_checks(outcomes, plan))
    return replace(first, plan=plan, outcomes=outcomes, examples=_examples(at_hand, first), checks=checks, folder=None)


def _check(parts: Sequence[AuditResult]) -> None:
    first = parts[0]
    whole = to_plain(configuration.replace(first.plan, shard="", model=""))
    for each in parts:
        if not each.plan.shard:
            raise ValueError("one of the audits is no part of another: give parts made with --shard only")
        # The model's name may be a path, which may differ between machines; its weights and answers may not.
        different = configuration.differences(whole, to_plain(configuration.replace(each.plan, shard="", model="")))
        different += ["different models"] if each.fingerprint != first.fingerprint else []
        if different:
            raise ValueError(
                f"shards {first.plan.shard} and {each.plan.shard} are not parts of one audit ({'; '.join(different[:4])}): "
                "run each with the same model, data and settings"
            )
    numbers = [parse_shard(each.plan.shard) for each in parts]
    totals = {total for _, total in numbers}
    if len(totals) > 1:
        raise ValueError(f"the parts were cut differently (into {sorted(totals)}): use one number of parts")
    total = totals.pop()
    missing = sorted(set(range(1, total + 1)) - {number for number, _ in numbers})
    if missing:
        raise ValueError(f"shard {missing[0]}/{total} is missing: run the audit with --shard {missing[0]}/{total} too")
    if len(numbers) > total:
        raise ValueError("a part is there twice: remove one of the two folders")
    if sum(len(each.outcomes.index) for each in parts) != first.plan.samples:
        raise ValueError("the parts do not cover every image once: run each with the same data")


def _checks(parts: Sequence[AuditResult], of_the_whole: Sequence[Check]) -> tuple[Check, ...]:
    """Of every check the gravest verdict of any part; those that need all verdicts are made again."""
    gravest: dict[str, Check] = {}
    for check in (each for part in parts for each in part.checks):
        known = gravest.get(check.name)
        if known is None or GRAVITY.index(check.verdict) > GRAVITY.index(known.verdict):
            gravest[check.name] = check
    return tuple((gravest | {check.name: check for check in of_the_whole}).values())


def _woven(columns: Sequence[NDArray[Any]], samples: int) -> NDArray[Any]:
    """Columns (…, n_k) of every K-th sample, put back in order along the last axis."""
    whole = np.empty((*columns[0].shape[:-1], samples), dtype=columns[0].dtype)
    for start, column in enumerate(columns):
        whole[..., start :: len(columns)] = column
    return whole


def _examples(parts: Sequence[AuditResult], like: AuditResult) -> Examples:
    """Pictures of the parts whose weakest class is that of the whole; a few of them."""
    limit = max(len(like.examples.labels), 1)
    if not parts:
        return Examples(**{name: value[:0] for name, value in vars(like.examples).items()})
    return Examples(
        **{
            name: np.concatenate([getattr(each.examples, name) for each in parts])[:limit]
            for name in vars(like.examples)
        }
    )
