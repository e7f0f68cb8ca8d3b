"""Pictures of what a terminal shows."""

import xml.etree.ElementTree as ET

from rich.text import Text

from classwise.report.terminal import terminal_svg


def lines_of(drawing: str) -> list[str]:
    """The text of each line in the window, spaces left out."""
    root = ET.fromstring(drawing)
    found: dict[str, str] = {}
    for each in root.iter():
        if each.tag.endswith("}text") and "clip-path" in each.attrib:
            key = each.attrib["clip-path"]
            found[key] = found.get(key, "") + "".join(each.itertext())
    return [line for line in ("".join(each.split()) for each in found.values()) if line]


def test_lines_are_drawn_as_they_are_and_long_ones_wrapped() -> None:
    drawing = terminal_svg(["[bold] a <b> & c", Text("styled", style="bold red"), "one two three four"], "a title", 10)
    assert lines_of(drawing) == ["[bold]a<b>", "&c", "styled", "onetwo", "threefour"]
    assert "a&#160;title" in drawing
    assert "font-weight: bold" in drawing


def test_nothing_is_fetched_and_the_same_lines_give_the_same_text() -> None:
    drawing = terminal_svg(["a"], "t", 5)
    assert "@font-face" not in drawing
    assert "Fira" not in drawing
    assert "src:" not in drawing
    assert drawing == terminal_svg(["a"], "t", 5)
