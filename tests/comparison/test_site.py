"""The static site: whole, offline, escaped, and in a browser sortable and searchable."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from classwise.comparison import overview

VOID = {"meta", "br", "hr", "img", "input", "link"}
NASTY = ("<script>alert(1)</script>", "a & \"b\" 'c'", "</svg><img src=x>")


class Page(HTMLParser):
    """Reads a page: checks that tags are balanced, and keeps tags, attributes and text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def site(make_run, make_audit, tmp_path):
    for seed, rate in enumerate((0.2, 0.3)):
        make_run(f"at <b>&-{seed}", rate, 0.5, 0.6, changes={"seed": seed}, names=NASTY)
    make_audit("nine", 0.09, 0.5, 0.6, names=NASTY)
    make_audit("hundred", 1.0, 1.0, 1.0, names=NASTY)
    return overview([tmp_path / "runs", tmp_path / "audits"]).site(tmp_path / "site")


def test_there_is_a_page_per_run_and_every_link_leads_somewhere(site):
    links = [attributes["href"] for attributes in Page(site).of("a")]
    pages = [link for link in links if link.startswith("runs/")]
    assert len(pages) == len(set(pages)) == 4
    assert sorted(pages) == sorted(f"runs/{path.name}" for path in (site.parent / "runs").iterdir())
    for link in links:
        assert link == "#content" or (site.parent / unquote(link)).is_file()
    for page in pages:
        back = [attributes["href"] for attributes in Page(site.parent / page).of("a")]
        assert "../index.html" in back


def test_nothing_of_a_name_becomes_markup_and_nothing_is_fetched(site):
    for path in (site, *(site.parent / "runs").iterdir()):
        page, text = Page(path), path.read_text(encoding="utf-8")
        assert len(page.of("script")) == 1
        assert "src" not in page.of("script")[0]
        assert not page.of("img")
        assert not page.of("b")
        assert not page.of("link")
        assert not re.findall(r"https?://(?!www\.w3\.org)", text)
        (policy,) = [each for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy"]
        assert policy["content"].startswith("default-src 'none'")
        assert NASTY[0] in page.text
    assert "at <b>&-0" in Page(site).text


def test_figures_are_in_the_cells(site):
    page = Page(site)
    values = [float(each["data-value"]) for each in page.of("td") if "data-value" in each]
    for expected in (0.25, 0.2, 0.3, 0.1, 1.0):
        assert any(value == pytest.approx(expected) for value in values), expected
    assert "25.0 ± 7.1" in page.text
    assert "toy/test, n = 120, linf 8/255, pgd-20, seed 0, exact (fp32)" in page.text


def test_a_forced_site_says_so_on_every_page(make_audit, tmp_path):
    make_audit("a")
    make_audit("b", precision="mixed")
    site = overview([tmp_path / "audits"], force=True).site(tmp_path / "site")
    assert "NOT COMPARABLE" in Page(site).text
    for page in (site.parent / "runs").iterdir():
        assert "Not comparable with all others" in Page(page).text


def test_a_site_is_replaced_and_nothing_else_is(make_audit, tmp_path):
    make_audit("a")
    for name in ("b", "c"):
        make_audit(name)
    site = overview([tmp_path / "audits"]).site(tmp_path / "site")
    mine = site.parent / "runs" / "mine.html"
    mine.write_text("my own")
    overview([tmp_path / "audits" / "a", tmp_path / "audits" / "b"]).site(tmp_path / "site")
    assert {path.name for path in mine.parent.iterdir()} == {"001-a.html", "002-b.html", "mine.html"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("my own")
    with pytest.raises(ValueError, match="holds something else"):
        overview([tmp_path / "audits"]).site(other)
    assert (other / "index.html").read_text() == "my own"


@pytest.mark.slow
def test_in_a_browser_it_sorts_and_filters(site, tmp_path):
    """A second script in a copy of the page does what a person would, and leaves what it saw behind."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    acts = """
    const table = document.querySelectorAll("table.filtered")[1], seen = [];
    const names = () => [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[0].textContent);
    const heads = [...table.tHead.rows[0].cells];
    const worst = heads.findIndex(head => head.textContent === "pgd-20 worst class");
    const button = heads[worst].querySelector("button");
    button.click(); seen.push([heads[worst].getAttribute("aria-sort"), ...names()]);
    button.click(); seen.push([heads[worst].getAttribute("aria-sort"), ...names()]);
    heads[0].querySelector("button").click(); seen.push(names());
    button.focus(); seen.push([document.activeElement === button, button.tabIndex]);
    const text = document.getElementById("text"), recipe = document.getElementById("recipe");
    const say = () => { text.dispatchEvent(new Event("input", { bubbles: true })); seen.push(names()); };
    text.value = "NINE"; say();
    seen.push([document.getElementById("status").textContent]);
    text.value = ""; recipe.value = "0"; say();
    seen.push([performance.getEntriesByType("resource").length]);
    document.documentElement.dataset.seen = JSON.stringify(seen);
    """
    page = tmp_path / "site" / "copy.html"
    text = site.read_text(encoding="utf-8").replace("</body>", f"<script>{{ {acts} }}</script></body>")
    page.write_text(text, encoding="utf-8")
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*words, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    import html
    import json

    (found,) = re.findall(r'data-seen="([^"]*)"', done.stdout)
    at = ["at <b>&-0", "at <b>&-1"]
    assert json.loads(html.unescape(found)) == [
        ["descending", "hundred", at[1], at[0], "nine"],
        ["ascending", "nine", at[0], at[1], "hundred"],
        [*at, "hundred", "nine"],
        [True, 0],
        ["nine"],
        ["1 of 3 methods, 1 of 4 runs shown"],
        at,
        [0],
    ]
