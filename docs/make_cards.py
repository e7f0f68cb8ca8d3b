"""Cards of the documentation site: one page for each component, and an index of them.

The texts are those of ``docs/components.md``; the cards add the fields, how the component is written in a configuration
and in Python, and the recipes that have it.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_components
import yaml

from classwise import registry
from classwise.configuration import to_plain

HEAD = """# Components

Every axis of the training loop takes one of these by its name, or by the name it has in its paper: `--use policy=kl-dro` on
the command line, `policy: {name: kl-dro}` in a configuration file, `cw.policies.KLDRO()` in Python. Each has a card with
its mechanism, source, departures from it, costs and fields. Choices that make no sense together are refused with the
reason. Settings of the papers and of their published code, side by side: [presets](../presets.md); what the methods did in
short repairs: [effects](../effects.md); a component of your own: [plug-ins](../plugins.md).
"""


def write_cards(folder: Path) -> None:
    """Write the index and the cards.

    Args:
        folder: Where; it is made.
    """
    folder.mkdir(parents=True)
    used = users()
    index = [HEAD]
    for kind, title in make_components.AXES.items():
        names = make_components.names(kind)
        index += [f"## {title} (`{kind}`)\n", "| name | what it does |", "| --- | --- |"]
        index += [f"| [`{name}`]({kind}-{name}.md) | {first_sentence(kind, name)} |" for name in names]
        index += ["", "```{toctree}", ":hidden:", "", *(f"{kind}-{name}" for name in names), "```", ""]
        for name in names:
            (folder / f"{kind}-{name}.md").write_text(card(kind, name, used), encoding="utf-8")
    (folder / "index.md").write_text("\n".join(index), encoding="utf-8")


def first_sentence(kind: str, name: str) -> str:
    """The first line of a component's description, for a cell."""
    return (
        make_components.as_markdown(inspect.getdoc(registry.get(kind, name)) or "")
        .partition("\n")[0]
        .replace("|", r"\|")
    )


def card(kind: str, name: str, used: dict[type, list[str]]) -> str:
    """One page.

    Args:
        kind: The axis.
        name: Registered name.
        used: See :func:`users`.
    """
    component = registry.get(kind, name)
    title, _, text = make_components.entry(kind, name).removeprefix("### ").partition("\n\n")
    parts = [f"# {title}", f"{make_components.AXES[kind]}: [`{kind}`](index.md).", text]
    fields = dataclasses.fields(component)
    if fields:
        parts.append("## Fields")
        parts += [field_entry(component, field) for field in fields]
    parts += ["## How to write it", *written(kind, component)]
    recipes = used.get(component, [])
    if recipes:
        parts.append(f"Recipes that have it: {', '.join(f'`{each}`' for each in recipes)}.")
    return "\n\n".join(parts) + "\n"


def field_entry(component: type, field: dataclasses.Field[Any]) -> str:
    """Name, default and meaning of one field, as an entry of a definition list."""
    default = default_of(field)
    said = "required" if default is dataclasses.MISSING else f"default `{in_yaml(default)}`"
    text = make_components.as_markdown(description(component, field.name))
    return f"`{field.name}` ({said})\n: {text or '(see the base class)'}"


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The value that a field has where it is not given, or MISSING."""
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def in_yaml(value: Any) -> str:
    """A value on one line, as a configuration file has it."""
    text = yaml.safe_dump(to_plain(value), default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def written(kind: str, component: type) -> list[str]:
    """The component in a configuration file and in Python, with its defaults."""
    fields = dataclasses.fields(component)
    if any(default_of(field) is dataclasses.MISSING for field in fields):
        needed = ", ".join(f"`{field.name}`" for field in fields if default_of(field) is dataclasses.MISSING)
        return [f"`{python_name(kind, component)}` in Python. It needs {needed}."]
    plain = {kind: to_plain(component())}
    return [
        "In a configuration file:",
        f"```yaml\n{yaml.safe_dump(plain, sort_keys=False, width=100)}```",
        "In Python:",
        f"```python\nimport classwise as cw\n\n{python_name(kind, component)}()\n```",
    ]


def python_name(kind: str, component: type) -> str:
    """Where a component is found in Python."""
    home = registry.HOMES[kind]
    where = home if component.__name__ in importlib.import_module(home).__all__ else component.__module__
    return f"{where}.{component.__name__}".replace("classwise.", "cw.", 1)


def users() -> dict[type, list[str]]:
    """Component → names of the recipes that have it."""
    found: dict[type, list[str]] = {}
    for name in registry.names("recipe"):
        for component in set(parts_of(registry.get("recipe", name)())):
            found.setdefault(component, []).append(name)
    return found


def parts_of(value: Any) -> Iterator[type]:
    """Classes of a configuration and of everything in it."""
    if isinstance(value, tuple):
        for each in value:
            yield from parts_of(each)
    elif dataclasses.is_dataclass(value):
        yield type(value)
        for field in dataclasses.fields(value):
            yield from parts_of(getattr(value, field.name))


def description(component: type, name: str) -> str:
    """The text under a field, in its own class or in the one it is inherited from."""
    for owner in component.__mro__:
        if name in vars(owner).get("__annotations__", {}):
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            assert isinstance(body, ast.ClassDef)
            for one, following in zip(body.body, body.body[1:], strict=False):
                if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == name:
                    text = getattr(getattr(following, "value", None), "value", "")
                    return " ".join(str(text).split())
    return ""
