"""The documentation site: what is made for it from the package holds everything, and it is built without a warning."""

import dataclasses
import re
import zlib
from pathlib import Path

import make_api
import make_cards
import make_commands
import make_components
import make_site
import pages
import pytest
import yaml

import classwise as cw
from classwise import registry
from classwise.cli import VERBS
from classwise.configuration import from_plain

SITE_INDEX = (pages.DOCS / "index.md").read_text(encoding="utf-8")
COMMANDS = [*VERBS, *(f"{verb} {sub}" for verb, subs in make_commands.SUBCOMMANDS.items() for sub in subs)]
CARDS = [(kind, name) for kind in make_components.AXES for name in make_components.names(kind)]


def test_every_page_is_in_the_contents() -> None:
    listed = {line for line in SITE_INDEX.splitlines() if re.fullmatch(r"[\w/]+", line)}
    written = {str(page.relative_to(pages.DOCS))[:-3] for page in pages.DOCS.rglob("*.md")} - {"index", "components"}
    made = {"components/index", "commands/index", "api/index", "changelog", "contributing"}
    assert listed == written | made


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_every_flag_of_its_help(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = make_commands.help_of(command)
    flags = set(make_commands.flags_of(shown))
    assert "--help" in flags
    part = "\n\n".join(make_commands.section(command, "#"))
    heads = [line for line in part.splitlines() if re.match(r"`-", line)]
    assert {flag for line in heads for flag in re.findall(r"(?<![\w-])--?[a-z][\w.-]*", line)} == flags
    assert part.count("\n: ") == len([line for line in shown.splitlines() if re.match(r"│ [^ ─]", line)]) - bare(shown)
    assert "(no more is said)" not in part
    assert not re.search("[│╭╰─]", part)
    monkeypatch.setattr(make_commands, "COLUMNS", "80")
    assert set(make_commands.flags_of(make_commands.help_of(command))) == flags


def bare(shown: str) -> int:
    """Lines at the left of a frame that are no flag: sentences above its flags, and the note above subcommands."""
    _, _, boxes = make_commands.read_help(shown)
    lines = [line for line in shown.splitlines() if re.match(r"│ [^ ─]", line)]
    return len(lines) - sum(len(box.entries) for box in boxes if box.title != "subcommands")


def test_subcommands_are_those_of_the_help() -> None:
    for verb in VERBS:
        usage = make_commands.read_help(make_commands.help_of(verb))[0]
        found = re.search(r"\{([a-z,]+)\}$", usage)
        assert tuple(found[1].split(",") if found else ()) == make_commands.SUBCOMMANDS.get(verb, ()), verb


def test_settings_of_every_data_set_and_model_of_theory_are_listed() -> None:
    for command, (kind, own) in make_commands.NAMED.items():
        part = make_commands.page(command.split()[0])
        for name in registry.names(kind):
            flags = (
                set(make_commands.flags_of(make_commands.help_of(f"{command} {name}"))) if name != "given" else set()
            )
            for flag in flags:
                assert f"`{flag}" in part or f", {flag}" in part or not flag.startswith(own), (command, name, flag)


def test_help_becomes_markdown() -> None:
    assert make_commands.prose("a*b, see docs/audits.md, --out and `--in`") == (
        r"a\*b, see [docs/audits.md](../audits.md), `--out` and `--in`"
    )


@pytest.mark.parametrize(("kind", "name"), CARDS, ids=lambda each: str(each))
def test_a_card_says_what_the_component_is_and_how_to_write_it(kind: str, name: str) -> None:
    component = registry.get(kind, name)
    card = make_cards.card(kind, name, {component: ["some-recipe"]})
    assert make_components.entry(kind, name).partition("\n\n")[2] in card
    for field in dataclasses.fields(component):
        assert f"\n\n`{field.name}` (" in card
    assert "(see the base class)" not in card
    assert "`some-recipe`" in card
    for text in re.findall(r"^```yaml\n(.*?)^```", card, re.MULTILINE | re.DOTALL):
        plain = yaml.safe_load(text)
        base = next(each for each in component.__mro__ if "kind" in vars(each))
        assert from_plain(base, plain[kind]) == component()
    for text in re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL):
        namespace: dict[str, object] = {}
        exec(text.replace("\n\ncw.", "\n\nmade = cw."), namespace)
        assert namespace["made"] == component()
    assert card.count("```") == 4 or "It needs `" in card


def test_recipes_stand_on_the_cards_of_their_parts() -> None:
    users = make_cards.users()
    assert "digits-faal" in users[cw.policies.KLDRO]
    assert "digits-faal" not in users[cw.policies.Hedge]
    assert users[cw.objectives.Trades]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_holds_every_public_name(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason='the site needs `pip install -e ".[docs]"`')
    make_site.main(tmp_path / "site")
    known = inventory(tmp_path / "site" / "objects.inv")
    for name in set(cw.__all__) - cw._PACKAGES - {"__version__"}:
        home = ".".join(cw._HOMES[name].split(".")[:2])
        assert {f"classwise.{name}", f"{home}.{name}"} & known, name
    for package in make_api.PACKAGES:
        module = __import__(f"classwise.{package}", fromlist=["x"])
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and thing.__doc__ and getattr(thing, "__module__", "").startswith("classwise"):
                assert f"classwise.{package}.{name}" in known, (package, name)
    files = {str(each.relative_to(tmp_path / "site")) for each in tmp_path.rglob("*.html")}
    assert {f"commands/{verb}.html" for verb in VERBS} <= files
    assert {f"components/{kind}-{name}.html" for kind, name in CARDS} <= files
    for each in tmp_path.rglob("*.html"):  # works from a file URL: nothing is asked of the network
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(\w+:[^\"]+)", each.read_text("utf-8"))
        assert [url for url in loaded if not url.startswith("data:")] == [], each.name


def inventory(path: Path) -> set[str]:
    """Names of Python objects that the site describes, from the file that other sites read."""
    packed = path.read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(packed).decode("utf-8").splitlines()
    return {line.split()[0] for line in lines if line.split()[1].startswith("py:")}
