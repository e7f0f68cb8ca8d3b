"""``classwise data``."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from classwise import registry
from classwise.cli import CHECK_FAILED, OK
from classwise.cli.flags import first_word, parse
from classwise.data import ClassData, Dataset, KnownTruth, Split
from classwise.data.duplicates import find_duplicates
from classwise.data.fetch import ARCHIVES, fetch, verify
from classwise.data.imbalance import describe_balance
from classwise.data.roles import roles_of
from classwise.data.sheet import contact_sheet


@dataclass(frozen=True)
class List:
    """Say which data sets there are, and which of them can be fetched."""


@dataclass(frozen=True)
class Fetch:
    """Download a data set from its official site, verify its checksum and keep it in the cache."""

    name: tyro.conf.Positional[str]
    """Data set, such as cifar10."""
    folder: Path | None = None
    """Where to keep it; default: the cache."""


@dataclass(frozen=True)
class Verify:
    """Compare official files that are on this machine with their published checksums.

    Exit code 3 where a file is damaged or, of the data set that is named, missing.
    """

    name: tyro.conf.Positional[str | None] = None
    """Data set, such as cifar10; default: all of which there are files in the cache."""
    folder: Path | None = None
    """Where its files are; default: the cache."""


@dataclass(frozen=True)
class Show:
    """Load a data set and say what is in it: images of each class and role, imbalance, images that are in two roles.

    `classwise data show NAME --help` lists the settings of that data set.
    """

    name: tyro.conf.Positional[str]
    """Data set, such as cifar10 or folder."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Show, tyro.conf.subcommand("show")]
)


@dataclass(frozen=True)
class Flags:
    """List, fetch, verify and show data sets."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]


def main(arguments: list[str]) -> int:
    """Run the command."""
    name = first_word("data show", arguments[1:], "NAME") if arguments[:1] == ["show"] else None
    if name is not None:
        return show(name, arguments[2:])
    command = parse(Flags, "data", arguments).command
    if isinstance(command, Fetch):
        print(f"{command.name} is in {fetch(command.name, command.folder)}")
        return OK
    return check_files(command) if isinstance(command, Verify) else overview()


def overview() -> int:
    """Print the list."""
    for name in registry.names("data"):
        if name != "given":
            print(f"{name:14} {(inspect.getdoc(registry.get('data', name)) or '').partition(chr(10))[0]}")
    print(f"\nclasswise data fetch NAME knows {', '.join(sorted(ARCHIVES))}.")
    return OK


def check_files(command: Verify) -> int:
    """Print the state of official files."""
    if command.name is None and command.folder is not None:
        raise ValueError("--folder: say which data set is in it: `classwise data verify NAME --folder FOLDER`")
    found = {}
    for name in [command.name] if command.name is not None else sorted(ARCHIVES):
        states = verify(name, command.folder)
        if set(states.values()) != {"missing"}:
            found[name] = states
    for name, states in found.items():
        for file, state in states.items():
            print(f"{state:8} {name}: {file}")
    if not found:
        print(f"There are no files of {command.name}." if command.name else "There are no files in the cache.")
    # Asked about one data set, all of its files are meant; in the cache only what is there.
    wrong = {"damaged", "missing"} if command.name is not None else {"damaged"}
    return CHECK_FAILED if not found or any(wrong & set(states.values()) for states in found.values()) else OK


def show(name: str, arguments: list[str]) -> int:
    """Load a data set and print what is in it."""
    flags = parse(_show_flags(name), f"data show {name}", arguments)
    dataset = flags.data.load()
    chosen = roles_of(dataset, flags.split)
    with warnings.catch_warnings():  # duplicates of all roles are printed below
        warnings.filterwarnings("ignore", message=".*pixel by pixel")
        roles, without = {"train": chosen.train, "validation": chosen.validation}, ""
        try:
            roles["test"] = dataset.test
        except ValueError as error:
            if "no test images" not in str(error):
                raise
            without = f"\n{error}"
    shape = "x".join(map(str, chosen.train.shape))
    print(f"{dataset.name}: {sum(map(len, roles.values()))} images of {shape}, {chosen.train.num_classes} classes\n")
    print("\n".join(_counts("class", chosen.train.class_names, {role: data.labels for role, data in roles.items()})))
    if chosen.train.num_groups != chosen.train.num_classes or not torch.equal(chosen.train.groups, chosen.train.labels):
        groups = {role: data.groups for role, data in roles.items()}
        print("\n" + "\n".join(_counts("group", chosen.train.group_names, groups)))
    print(f"\n{describe_balance(chosen.train)}")
    print("\n".join(_duplicates(roles, dataset.called)) + without)
    print(_which_split(dataset, flags.split))
    if isinstance(flags.data, KnownTruth):
        print("\n" + "\n".join(_truth(flags.data)))
    if flags.sheet is not None:
        contact_sheet(chosen.train, flags.sheet, flags.per_class)
        print(f"The first training images of each class are in {flags.sheet}")
    return OK


def _show_flags(name: str) -> type[Any]:
    """Flags of ``show`` for one data source, whose fields are among them."""
    kind = registry.get("data", name)

    def described(kind: Any, text: str) -> Any:
        return Annotated[kind, tyro.conf.arg(help=text)]

    made = dataclasses.make_dataclass(
        "ShowFlags",
        [
            ("data", described(kind, "The data set.")),
            ("split", described(Split, "Validation images held out of the training set."), Split()),
            ("sheet", described(Path | None, "PNG file to write: a few training images of each class."), None),
            ("per_class", described(int, "Images of each class on the sheet."), 8),
        ],
        frozen=True,
    )
    made.__doc__ = inspect.getdoc(kind)
    return made


def _counts(what: str, names: tuple[str, ...], roles: dict[str, torch.Tensor]) -> list[str]:
    """A table of how many samples of each class or group a role has."""
    width = max(len(name) for name in (what, "all", *names))
    counts = {role: torch.bincount(values, minlength=len(names)).tolist() for role, values in roles.items()}
    rows = [[name, *(str(each[i]) for each in counts.values())] for i, name in enumerate(names)]
    rows = [[what, *counts], *rows, ["all", *(str(sum(each)) for each in counts.values())]]
    return [f"{row[0]:{width}}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows]


def _duplicates(roles: dict[str, ClassData], called: Any) -> list[str]:
    found = find_duplicates(roles)
    return [each.sentence(called) for each in found] or ["No image is in two roles."]


def _which_split(data: Dataset, split: Split) -> str:
    """Where the validation images that are counted come from."""
    if data.validation is not None:
        return "Validation images are the data set's own."
    plain = Split()
    asked = [
        f"{field.name}={getattr(split, field.name)!r}"
        for field in dataclasses.fields(split)
        if getattr(split, field.name) != getattr(plain, field.name)
    ]
    which = f"the default split ({100 * plain.fraction:g} % of each class, at least {plain.at_least})"
    if asked:
        which = f"the split asked for here ({', '.join(asked)})"
    return f"The counts are of {which}; --split.FIELD shows another, and recipes may bring their own."


def _truth(source: KnownTruth) -> list[str]:
    """The unit of a data set with known truth, how far its exact errors go, and what they are at a quarter of that."""
    largest = source.room * source.unit
    example = f"{largest / 4:.1g}"  # a radius that is easily typed
    rows = list(zip(source.class_names, source.exact_errors(0), source.exact_errors(example), strict=True))
    width = max(len(name) for name in ("class", *source.class_names))
    return [
        f"Known truth. One unit of the model is {source.unit:.6g} of the pixel range. Exact errors are known",
        f"up to an l_inf radius of {largest:.6g} of images ({source.room:g} units of the model). Of the best classifier",
        f"at each radius, without attack and attacked at {example}:",
        f"{'class':{width}}{'clean':>12}{f'radius {example}':>16}",
        *(f"{name:{width}}{clean:12.4f}{attacked:16.4f}" for name, clean, attacked in rows),
    ]
