"""Several published files per data set, plain or packed: fetched once, checked, and nothing else is written."""

import hashlib
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from classwise import registry
from classwise.data.fetch import ARCHIVES, Download, Published, default_folder, fetch, verify


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a web server on this machine, which offers the data set "two-parts"."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "plain.bin").write_bytes(b"plain")
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.writestr("inner/x", b"first")
        archive.writestr("inner/deep/y", b"second")
        archive.writestr("inner/unused", b"third")
        archive.writestr("../evil", b"fourth")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_port}"
        published = Published(
            folder="here",
            downloads=(
                Download(f"{address}/plain.bin?download=1", md5(b"plain")),
                Download(
                    f"{address}/packed.zip",
                    md5((folder / "packed.zip").read_bytes()),
                    {"inner/x": md5(b"first"), "inner/deep/y": md5(b"second")},
                ),
            ),
        )
        monkeypatch.setitem(ARCHIVES, "two-parts", published)
        yield folder
        http.shutdown()


@pytest.mark.parametrize("progress", [False, True])
def test_plain_files_are_kept_and_archives_unpacked(site: Path, tmp_path: Path, progress: bool, capsys):
    folder = fetch("two-parts", tmp_path / "to", progress=progress)
    assert folder == tmp_path / "to" / "here"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "plain.bin": b"plain",
        "x": b"first",
        "y": b"second",
    }
    assert list((tmp_path / "to").iterdir()) == [folder]
    assert not list(tmp_path.rglob("evil"))
    drawn = capsys.readouterr().err
    assert all((f"{name} ━" in drawn) == progress for name in ("plain.bin", "packed.zip"))


def test_only_what_is_missing_or_damaged_is_fetched_again(site: Path, tmp_path: Path, monkeypatch):
    folder = fetch("two-parts", tmp_path, progress=False)
    asked = []
    retrieve = pooch.retrieve
    monkeypatch.setattr(pooch, "retrieve", lambda url, *rest, **more: asked.append(url) or retrieve(url, *rest, **more))
    fetch("two-parts", tmp_path, progress=False)
    assert asked == []
    (folder / "plain.bin").write_bytes(b"spoilt")
    fetch("two-parts", tmp_path, progress=False)
    assert [url.rpartition("/")[2] for url in asked] == ["plain.bin?download=1"]
    (folder / "y").unlink()
    fetch("two-parts", tmp_path, progress=False)
    assert [url.rpartition("/")[2] for url in asked[1:]] == ["packed.zip"]
    assert set(verify("two-parts", folder).values()) == {"intact"}


def test_verifying_names_the_state_of_each_file(site: Path, tmp_path: Path, monkeypatch):
    assert set(verify("two-parts", tmp_path / "nowhere").values()) == {"missing"}
    folder = fetch("two-parts", tmp_path, progress=False)
    (folder / "plain.bin").write_bytes(b"spoilt")
    (folder / "y").unlink()
    want = {"plain.bin": "damaged", "x": "intact", "y": "missing"}
    assert verify("two-parts", folder) == verify("two-parts", tmp_path) == want
    monkeypatch.setenv("CLASSWISE_DATA", str(tmp_path))
    assert default_folder("two-parts") == folder
    assert verify("two-parts") == want
    with pytest.raises(ValueError, match="'two-part' cannot be fetched: did you mean 'two-parts'"):
        verify("two-part")


def test_a_link_in_place_of_a_plain_file_is_replaced_not_followed(site: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"untouched")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "plain.bin").symlink_to(secret)
    fetch("two-parts", tmp_path, progress=False)
    assert secret.read_bytes() == b"untouched"
    assert (tmp_path / "here" / "plain.bin").read_bytes() == b"plain"


def test_another_content_is_refused_and_not_kept(site: Path, tmp_path: Path):
    (site / "plain.bin").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(ValueError, match=r"plain\.bin.* sent has not the published MD5 .* and was deleted: try again"):
        fetch("two-parts", tmp_path / "to", progress=False)
    assert not list((tmp_path / "to" / "here").iterdir())


def test_a_member_with_another_content_is_refused(site: Path, tmp_path: Path, monkeypatch):
    published = ARCHIVES["two-parts"]
    plain, packed = published.downloads
    wrong = replace(packed, members={**packed.members, "inner/x": md5(b"other")})
    monkeypatch.setitem(ARCHIVES, "two-parts", replace(published, downloads=(plain, wrong)))
    with pytest.raises(ValueError, match=r"'x' in .*packed\.zip' has not its published MD5: delete it and fetch again"):
        fetch("two-parts", tmp_path, progress=False)


def test_looking_where_the_variable_says_needs_no_downloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # as where it is not installed
    monkeypatch.setenv("CLASSWISE_DATA", str(tmp_path))
    assert default_folder("svhn").is_relative_to(tmp_path)
    monkeypatch.delenv("CLASSWISE_DATA")
    with pytest.raises(ImportError):
        default_folder("svhn")


def test_what_can_be_fetched_is_complete():
    """Every entry has addresses, sums of the right length, and file names of its own that stay in the folder."""
    assert {"cifar10", "cifar100", "svhn", "svhn-extra", "stl10", "mnist", "fashion-mnist"} <= set(ARCHIVES)
    for name, published in ARCHIVES.items():
        kept = [file for download in published.downloads for file in download.kept]
        assert len(kept) == len(set(kept)) > 0, name
        assert all(file == Path(file).name for file in [*kept, published.folder])
        for download in published.downloads:
            assert download.url.startswith(("https://", "http://")), name
            for sum_ in [download.md5, *download.members.values()]:
                assert len(sum_) == 32
                assert set(sum_) <= set("0123456789abcdef")
    sums = [download.md5 for published in ARCHIVES.values() for download in published.downloads]
    assert len(sums) == len(set(sums))


def test_every_source_with_a_folder_of_its_own_says_how_to_get_it(tmp_path: Path):
    for name in ("cifar10", "cifar100", "svhn", "stl10", "mnist", "fashion-mnist", "medmnist"):
        with pytest.raises(ValueError, match=r"there is no .*: fetch it with `classwise data fetch [\w-]+`, or give"):
            registry.get("data", name)(folder=str(tmp_path)).load()
