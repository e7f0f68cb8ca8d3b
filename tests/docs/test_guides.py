"""Every block and command of the guides runs as it stands there, or says that it needs a GPU or the network."""

import re
import shutil
from pathlib import Path

import pages
import pytest

START = pages.DOCS / "start.md"
FURTHER = [*sorted((pages.DOCS / "guides").glob("*.md")), pages.DOCS / "reading.md"]
ALL = [START, pages.DOCS / "index.md", *FURTHER]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader has after the five minutes, with which the guides go on."""
    folder = tmp_path_factory.mktemp("start")
    assert pages.carry_out(START, folder) == 6
    return folder


@pytest.mark.slow
def test_the_five_minutes_run(started: Path) -> None:
    assert (started / "compared.html").stat().st_size > 10_000
    assert sorted(each.name for each in (started / "runs").iterdir()) == ["at", "repair"]


@pytest.mark.slow
@pytest.mark.parametrize("page", FURTHER, ids=lambda page: page.stem)
def test_a_guide_runs(page: Path, started: Path, tmp_path: Path) -> None:
    shutil.copytree(started, tmp_path, dirs_exist_ok=True)
    left = sum(len(block.text.splitlines()) if block.language == "sh" else 1 for block in runnable(page))
    skipped = sum(bool(pages.NEEDS.search(line)) for line in page.read_text(encoding="utf-8").splitlines())
    assert pages.carry_out(page, tmp_path) == left - skipped > 0


def runnable(page: Path) -> list[pages.Block]:
    return [block for block in pages.blocks(page) if block.language in ("sh", "python") and not block.file]


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_every_block_is_of_a_kind_that_is_run(page: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    found = pages.blocks(page)
    assert {block.language for block in found} <= pages.LANGUAGES
    directives = [fence for fence in fences if fence.startswith("{")]
    assert len(fences) == 2 * (len(found) + len(directives))
    if page.name != "index.md":
        assert not directives
        assert runnable(page)
    else:
        assert set(directives) == {"{toctree}"}


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_links_lead_to_pages(page: Path) -> None:
    made = {"commands", "api"}
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if made.isdisjoint(Path(target).parts):
            assert (page.parent / target).is_file(), target


def test_only_what_needs_a_gpu_or_the_network_is_left_out() -> None:
    left = [line for page in ALL for line in page.read_text("utf-8").splitlines() if pages.NEEDS.search(line)]
    for line in left:
        assert re.search(r"--device cuda|--hardware\.device cuda|nproc-per-node|cifar10|^pip install", line), line
    assert len(left) <= 6


def test_a_page_that_says_what_is_not_so_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text, message in {
        "```sh\nclasswise auditt x\n```\n": "exit code 2",
        "```sh\nclasswise --version  # exit code 3\n```\n": "exit code 0",
        "```python\nassert 1 == 2\n```\n": "page.md, line 2 failed",
        "```sh\nclasswise --version\n```\n\n```text\nversion 0\n```\n": "this was not printed: version 0",
        "```rust\nfn main() {}\n```\n": "cannot be run",
    }.items():
        page.write_text(text, encoding="utf-8")
        with pytest.raises(AssertionError, match=message):
            pages.carry_out(page, tmp_path)
    page.write_text("```sh\nclasswise --version  # exit code 0\n```\n\n```text\n9.9.9\n```\n", encoding="utf-8")
    assert pages.carry_out(page, tmp_path) == 1
