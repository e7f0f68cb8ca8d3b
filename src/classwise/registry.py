"""Names of components: one table per axis of the loop, filled by the ``register`` decorator.

Built-in components register themselves when the package of their axis is imported, which happens on the first
look-up. Installed packages add theirs through the entry-point group ``classwise.plugins``; a single file is
brought in by :func:`load_plugin`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

HOMES = {
    "data": "classwise.data",
    "augmentation": "classwise.data",
    "model": "classwise.models",
    "attack": "classwise.attacks",
    "objective": "classwise.objectives",
    "policy": "classwise.policies",
    "mixing": "classwise.mixing",
    "perturbation": "classwise.perturbation",
    "averaging": "classwise.averaging",
    "selection": "classwise.selection",
    "repair": "classwise.repair",
    "optimizer": "classwise.training",
    "schedule": "classwise.training",
    "theory": "classwise.theory.shown",
    "theory-figure": "classwise.theory.shown",
    "recipe": "classwise.recipes",
}
"""Kind of component → package whose import registers the built-in ones."""

_tables: dict[str, dict[str, Any]] = {kind: {} for kind in HOMES}
_aliases: dict[str, dict[str, str]] = {kind: {} for kind in HOMES}
_entry_points_loaded = False


def register(kind: str, name: str, *aliases: str) -> Callable[[T], T]:
    """Register a component class (or a recipe function) under a name.

    Args:
        kind: The axis, one of ``HOMES``.
        name: The mechanism's name, lower case with hyphens, as written in configuration files.
        *aliases: Other names under which people look for it, such as the paper's.

    Returns:
        A decorator that returns its argument unchanged.

    Raises:
        ValueError: The kind is unknown, or the name is taken by another component.
    """
    if kind not in _tables:
        raise ValueError(f"unknown kind of component {kind!r}: one of {', '.join(_tables)}")

    def add(thing: T) -> T:
        for each in (name, *aliases):
            taken = _tables[kind].get(_aliases[kind].get(each, each))
            if taken is not None and _identity(taken) != _identity(thing):
                raise ValueError(f"{kind} {each!r} is already registered by {_identity(taken)}: choose another name")
        _tables[kind][name] = thing
        _aliases[kind].update(dict.fromkeys(aliases, name))
        if isinstance(thing, type):
            thing.registered_name = name  # type: ignore[attr-defined]
        return thing

    return add


def get(kind: str, name: str) -> Any:
    """Return what is registered under a name or an alias.

    Raises:
        ValueError: Nothing is; the message names the nearest known name.
    """
    _load_built_in(kind)
    found = _tables[kind].get(_aliases[kind].get(name, name))
    if found is None:
        raise ValueError(f"unknown {kind} {name!r}{did_you_mean(name, [*names(kind), *_aliases[kind]])}")
    return found


def names(kind: str) -> list[str]:
    """Registered names of one kind, sorted, without aliases."""
    _load_built_in(kind)
    return sorted(_tables[kind])


def aliases(kind: str, name: str) -> list[str]:
    """Other names of one component, sorted."""
    _load_built_in(kind)
    return sorted(alias for alias, target in _aliases[kind].items() if target == name)


def did_you_mean(word: str, known: list[str]) -> str:
    """A clause that ends an error message: the nearest known words, or all of them when none is near."""
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    if near:
        return f": did you mean {' or '.join(repr(each) for each in near)}?"
    return f": known are {', '.join(sorted(known)) or 'none'}"


def load_plugin(path: str | Path) -> str:
    """Run one Python file so that it registers its components.

    Args:
        path: A ``.py`` file. Its code runs with the rights of this process: bring in only what you trust.

    Returns:
        SHA-256 of the file, which is kept with the run.

    Raises:
        ValueError: There is no such file, or running it failed.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise ValueError(f"plug-in {str(path)!r} is not a Python file: give the path of a .py file")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    module_name = f"classwise_plugin_{digest[:12]}"  # the copy that a run keeps has another name and is the same
    if module_name in sys.modules:
        return digest
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ValueError(f"plug-in {str(path)!r} failed while loading: {type(error).__name__}: {error}") from error
    return digest


def _load_built_in(kind: str) -> None:
    global _entry_points_loaded
    if kind not in HOMES:
        raise ValueError(f"unknown kind of component {kind!r}: one of {', '.join(HOMES)}")
    importlib.import_module(HOMES[kind])
    if not _entry_points_loaded:
        _entry_points_loaded = True
        for entry in importlib.metadata.entry_points(group="classwise.plugins"):
            entry.load()


def _identity(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
