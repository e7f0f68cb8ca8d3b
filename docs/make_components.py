"""Write ``docs/components.md``: every component of the training loop, from its own docstring."""

import inspect
import re
from pathlib import Path

import tyro

from classwise import registry

AXES = {
    "objective": "What a step lowers",
    "attack": "Attacks (in training and in audits)",
    "policy": "Class policies: each class's radius and weights",
    "mixing": "Mixing of images",
    "perturbation": "Perturbation of weights around a step",
    "averaging": "Averages of weights",
    "selection": "Which epoch is kept, on validation images",
    "repair": "Repairs without training, fitted on validation images",
}
HEADS = ("Source", "Departures", "Observes", "Costs")


def main(out: Path = Path("docs/components.md")) -> None:
    """Write the page.

    Args:
        out: The page.
    """
    out.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    parts = ["# Components", INTRODUCTION]
    for kind, title in AXES.items():
        parts.append(f"## {title} (`{kind}`)")
        parts += [entry(kind, name) for name in names(kind)]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """\
Made by `docs/make_components.py` from the components' own descriptions. Every axis of the training loop takes one of
these by its name, or by the name it has in its paper: `--use policy=kl-dro` on the command line, `policy: {name: kl-dro,
tau: 0.5}` in a configuration file, `cw.policies.KLDRO(tau=0.5)` in Python. Fields are listed by `classwise train RECIPE
--use … --help`. Settings of the papers and of their published code, side by side: [presets.md](presets.md). A component
of your own: [plugins.md](plugins.md). Choices that make no sense together are refused with the reason."""


def names(kind: str) -> list[str]:
    """Components of the package itself."""
    return [name for name in registry.names(kind) if registry.get(kind, name).__module__.startswith("classwise.")]


def entry(kind: str, name: str) -> str:
    """One component: what it does, and where it comes from."""
    component = registry.get(kind, name)
    also = registry.aliases(kind, name)
    title = f"### {name}" + (f" (also {', '.join(also)})" if also else "")
    text = inspect.cleandoc(component.__doc__ or "").split("\n\n    Args:")[0]
    return f"{title}\n\n{as_markdown(text)}"


def as_markdown(text: str) -> str:
    """A docstring as Markdown: code in single quotes, a list of what is told about it under their heads."""
    text = re.sub(r":\w+:`~?\.?([^`]*)`", r"`\1`", text).replace("``", "`")
    for head in HEADS:
        text = re.sub(rf"^{head}:? ", f"- **{head}** ", text, flags=re.MULTILINE)
    return re.sub(r"(?<!\n)\n(- \*\*Source)", r"\n\n\1", text)


if __name__ == "__main__":
    tyro.cli(main)
