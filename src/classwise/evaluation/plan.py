"""An audit written down before it is run."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence

from classwise.attacks import Attack, attack_list, describe
from classwise.attacks.suite import Attacks, check_threat, warnings_for
from classwise.configuration import config, to_plain
from classwise.data.dataset import ClassData
from classwise.evaluation.collect import Precision
from classwise.threat import ThreatModel


@config
class AuditPlan:
    """What was asked of a model, and on which samples: everything that decides the verdicts. Saved as ``audit.yaml``."""

    model: str
    """What was audited, in words: a checkpoint, or the class of a live model."""
    data: str
    """Name of the data set."""
    split: str
    """Role of the images: test, validation or train."""
    data_sha256: str
    """Checksum over images, labels, groups and index."""
    samples: int
    """Number of images."""
    class_names: tuple[str, ...]
    """Names of the classes (or groups) in the tables."""
    threats: tuple[ThreatModel, ...]
    """Norm and radius of each table, the first one being the main one."""
    attacks: tuple[Attack, ...]
    """Worst case over these, per sample."""
    seed: int
    """Seed of the random starts."""
    batch_size: int
    """Images of a micro-batch."""
    precision: Precision = "exact"
    """Of the search: "exact" is fp32, "mixed" bf16. Every verdict is the model's own in fp32 in either."""
    shard: str = ""
    """Which part of the images this is, such as "2/8"; empty: all of them."""

    def check(self) -> None:
        """Refuse micro-batches without images."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} must be at least 1")
        if self.shard:
            parse_shard(self.shard)

    @property
    def suite(self) -> str:
        """Short name of the attacks."""
        return describe(self.attacks)

    def key(self) -> str:
        """Short digest of the plan, for folder names.

        What threat models had not from the first is left out where it has its default, so that earlier audits are found.
        """
        plain = to_plain(self)
        for threat, written in zip(self.threats, plain["threats"], strict=True):
            for name, default in (("channels", ()), ("box", True)):
                if getattr(threat, name) == default:
                    del written[name]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def plan_audit(
    data: ClassData,
    *,
    model: str,
    threats: Sequence[ThreatModel],
    attacks: Attacks = "pgd-20",
    seed: int = 0,
    batch_size: int = 256,
    split: str = "test",
    precision: Precision = "exact",
    shard: str = "",
) -> AuditPlan:
    """Write down an audit before it is run; see :class:`AuditPlan` for the fields.

    Raises:
        ValueError: A class has no sample, no threat model is given, or an attack is unknown or does not know the threat model.
    """
    check_classes(data, split)
    if not threats:
        raise ValueError("no threat model given: name at least one, such as linf('8/255')")
    chosen = attack_list(attacks)
    if any(attack.bn_mode == "train" for attack in chosen):
        raise ValueError(
            "an attack with bn_mode 'train' would change the audited model's BatchNorm: use bn_mode 'eval'"
        )
    for threat in threats:
        check_threat(chosen, threat)
    for sentence in (each for threat in threats for each in warnings_for(chosen, threat.norm, data.num_classes)):
        warnings.warn(sentence, stacklevel=2)
    return AuditPlan(
        model=model,
        data=data.name,
        split=split,
        data_sha256=data.checksum(),
        samples=len(data),
        class_names=data.group_names,
        threats=tuple(threats),
        attacks=chosen,
        seed=seed,
        batch_size=batch_size,
        precision=precision,
        shard=shard,
    )


def check_classes(data: ClassData, split: str) -> None:
    """Refuse data in which a class has no sample.

    Raises:
        ValueError: With the name of the first such class.
    """
    missing = [name for i, name in enumerate(data.group_names) if not bool((data.groups == i).any())]
    if missing:
        raise ValueError(
            f"class {missing[0]!r} has no sample in the {split} images of {data.name!r}: "
            "nothing can be said about it; give samples of every class, or name only the classes there are"
        )


def parse_shard(text: str) -> tuple[int, int]:
    """Number of a part, from 1, and how many there are.

    Raises:
        ValueError: It is not written like 2/8, or there is no such part.
    """
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"shard {text!r}: write NUMBER/TOTAL, such as 2/8 for the second of eight parts")
    return int(number), int(total)
