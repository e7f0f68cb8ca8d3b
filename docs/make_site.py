"""Build the documentation site: the pages of this folder, and cards, commands and the API from the package itself.

python docs/make_site.py build/docs

Everything is gathered in one folder first, since parts of it are made anew for every build and are not kept.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import make_api
import make_cards
import make_commands
import tyro

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent


def main(out: tyro.conf.Positional[Path] = Path("build/docs")) -> None:
    """Build the site; a warning is an error.

    Args:
        out: Folder of the site, which is replaced; open index.html in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        gather(pages)
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-d", f"{folder}/trees"]
        done = subprocess.run([*command, str(pages), str(out)], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"Site: {(out / 'index.html').resolve()}")


def gather(folder: Path) -> None:
    """Put all pages into one folder, in the form that Sphinx reads.

    Args:
        folder: Where; it is made.
    """
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("__pycache__", "make_*.py", "*_parts.py"))
    (folder / "components.md").unlink()  # the cards stand in its place
    make_cards.write_cards(folder / "components")
    make_commands.write_commands(folder / "commands")
    make_api.write_api(folder / "api")
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        (folder / f"{name.lower()}.md").write_text(text, encoding="utf-8")
    for page in folder.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(relinked(text, page.parent == folder), encoding="utf-8")


def relinked(text: str, at_top: bool) -> str:
    """A page whose links lead to where the pages are in the site.

    Args:
        text: The page as it is in the repository.
        at_top: Whether it lies in the top folder of the site.
    """
    up = "" if at_top else "../"
    text = text.replace("](docs/", f"]({up}")
    return re.sub(r"\]\(((?:\.\./)?)components\.md", r"](\1components/index.md", text)


if __name__ == "__main__":
    tyro.cli(main)
