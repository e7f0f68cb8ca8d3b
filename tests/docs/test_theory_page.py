"""docs/theory.md says what the commands and the Python on it print, and its figures are those that the commands draw."""

import contextlib
import io
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import make_theory
import pytest
from theory_parts import flow

from classwise.cli import run
from classwise.cli.theory import Explain

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "theory.md").read_text(encoding="utf-8")
SECTIONS = {part.splitlines()[0].strip("# "): part for part in re.split(r"^(?=#+ )", PAGE, flags=re.MULTILINE) if part}
NUMBER = r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?"
NETS = "frl-icml-figure2"  # trained in float32, which another processor rounds in another way
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
SHOWN = [each for each in COMMANDS if each.startswith("classwise theory show ")]
DRAWN = [each.split()[3] for each in COMMANDS if each.startswith("classwise theory figure ")]
slow_nets = pytest.param(NETS, marks=pytest.mark.slow)
Cli = Callable[[str], str]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Carries out a command of the page; returns what it prints."""

    def command(words: str) -> str:
        capsys.readouterr()
        assert run(shlex.split(words)[1:]) == 0, words
        return capsys.readouterr().out

    return command


def section_of(text: str) -> str:
    (found,) = [part for part in SECTIONS.values() if text in part]
    return found


def python_of(part: str) -> list[tuple[str, str]]:
    return re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def table_after(command: str) -> Iterator[dict[str, str]]:
    """Rows of the Markdown table below a command."""
    lines = PAGE.partition(f"\n{command}\n```\n\n")[2].partition("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows
    for row in rows:
        yield dict(zip(head, row, strict=True))


def numbers(text: str) -> list[float]:
    return [float(each) for each in re.findall(NUMBER, text)]


@pytest.mark.parametrize("make", [each for each in make_theory.SECTIONS if each is not make_theory.frl_icml])
def test_a_section_is_what_the_script_makes(make: Callable[[], str]) -> None:
    assert f"{flow(make())}\n" in f"{PAGE}\n", "run docs/make_theory.py"


@pytest.mark.slow
def test_the_section_with_networks_is_what_the_script_makes() -> None:
    made, written = flow(make_theory.frl_icml()), SECTIONS["FRL, published version (ICML)"].strip()
    assert re.sub(r"(?m)^> .*$", "", made) == re.sub(r"(?m)^> .*$", "", written), "run docs/make_theory.py"


def test_the_page_has_its_sections_in_order_and_nothing_else() -> None:
    assert [*SECTIONS.values()] == re.split(r"^(?=#+ )", PAGE, flags=re.MULTILINE)[1:]
    assert len(SECTIONS) == len(make_theory.SECTIONS)
    assert set(make_theory.DRAWN) == set(DRAWN) == {path.stem for path in (DOCS / "theory").iterdir()}
    assert len(SHOWN) >= 10


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_prints_the_table_below_it(command: str, cli: Cli) -> None:
    printed = cli(command)
    for row in table_after(command):
        (line,) = [each for each in printed.splitlines() if each.strip().startswith(row["quantity"] + "  ")]
        remark = row.pop("remark")
        assert remark in printed
        note = re.search(r"\((\d+)\)$", line.rstrip())
        assert bool(note) == bool(remark)
        if note:
            assert f"{note[0]} {remark}" in printed
        rest = line.strip().removeprefix(row.pop("quantity")).removesuffix(note[0] if note else "")
        assert rest.split() == " ".join(row.values()).split()


@pytest.mark.parametrize("name", [each for each in DRAWN if each != NETS] + [slow_nets])
def test_a_figure_and_its_sentences_are_what_its_command_gives(name: str, cli: Cli, tmp_path: Path) -> None:
    printed = cli(f"classwise theory figure {name} --out {shlex.quote(str(tmp_path))}")
    below = PAGE.partition(f"(theory/{name}.svg)\n\n")[2].partition("\n\n")[0]
    said = [line.removeprefix("> - ") for line in below.splitlines()]
    drawn = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
    written = (DOCS / "theory" / f"{name}.svg").read_text(encoding="utf-8")
    if name != NETS:
        assert "\n".join(["", *said, ""]) in printed
        assert drawn == written, "run docs/make_theory.py"
        return
    now = printed.split("\n\n")[1].splitlines()
    assert [re.sub(NUMBER, "#", line) for line in now] == [re.sub(NUMBER, "#", line) for line in said]
    # A point of 50000 more or less is 0.002 %; a network that is another one is off by ten times this.
    assert numbers("\n".join(now)) == pytest.approx(numbers("\n".join(said)), abs=0.02)
    roots = [ET.fromstring(text) for text in (drawn, written)]
    assert [(each.tag, each.text) for each in roots[0].iter()] == [(each.tag, each.text) for each in roots[1].iter()]


@pytest.mark.parametrize("title", [title for title, part in SECTIONS.items() if "```python" in part])
def test_the_python_prints_what_stands_below_it(title: str) -> None:
    blocks = python_of(SECTIONS[title])
    assert len(blocks) == SECTIONS[title].count("```python")
    for source, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, title, "exec"), {})
        assert [line.rstrip() for line in printed.getvalue().splitlines()] == [
            line.rstrip() for line in expected.splitlines()
        ]


@pytest.mark.parametrize("title", SECTIONS)
def test_every_number_of_the_sentences_is_printed_in_its_section(title: str, cli: Cli) -> None:
    part = SECTIONS[title]
    sources = "".join(cli(each) + each for each in SHOWN if each in part)
    sources += "".join(source + printed for source, printed in python_of(part))
    sentences = re.sub(r"^```.*?^```|^\|.*?$|^>.*?$|^#.*?$", "", part, flags=re.MULTILINE | re.DOTALL)
    sentences = re.sub(r"\b(section|appendix) [A-Z\d.]*\d", "", sentences)
    known = set(re.findall(NUMBER, sources))
    stated = [each for each in re.findall(NUMBER, sentences) if "." in each]
    for each in stated:
        assert each in known, f"{each} of the section {title!r} is printed nowhere in it"


def test_the_numbers_of_the_sentences_are_looked_for_at_all() -> None:
    assert re.findall(NUMBER, "from 0.25 to -1.5, 1.093e+04, not v1.2 or x_2") == ["0.25", "-1.5", "1.093e+04"]
    counted = sum(len(re.findall(r"\d\.\d{2,}", line)) for line in PAGE.splitlines() if not line.startswith(("|", ">")))
    assert counted > 100


def test_intervals_are_counted_as_the_page_says(cli: Cli) -> None:
    rows = [
        re.search(rf"({NUMBER})\s+{NUMBER}\s+\[({NUMBER}), ({NUMBER})\]", line)
        for command in SHOWN
        for line in cli(command).splitlines()
    ]
    found = [tuple(map(float, row.groups())) for row in rows if row]
    inside = sum(low <= value <= high for value, low, high in found)
    assert f"give {len(found)} intervals, of which {inside} hold" in " ".join(PAGE.split())


def test_figures_are_drawings_and_nothing_else() -> None:
    for name in DRAWN:
        root = ET.parse(DOCS / "theory" / f"{name}.svg").getroot()
        assert {each.tag.rpartition("}")[2] for each in root.iter()} <= {
            *("svg", "style", "g", "path", "defs", "use", "text", "tspan", "clipPath", "rect")
        }


def test_the_commands_about_runs_are_known(cli: Cli, tmp_path: Path) -> None:
    others = [each for each in COMMANDS if not each.startswith("classwise theory ")]
    assert len(others) == 3
    for command in others:
        if " train " in command:
            assert "runs/" in command
            cli(f"{command.partition(' --out')[0]} --out {shlex.quote(str(tmp_path / 'run'))} --dry-run")
    (explain,) = [each for each in COMMANDS if each.startswith("classwise theory explain")]
    assert explain.split()[3] == "runs/at"
    assert "run" in Explain.__dataclass_fields__
