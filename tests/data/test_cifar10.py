"""CIFAR-10 from its official files, and how those files get onto a machine."""

import hashlib
import importlib.util
import io
import pickle
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pooch
import pytest
import requests
import torch

from classwise import registry
from classwise.configuration import from_plain, to_plain
from classwise.data import CIFAR10, DataSource, load
from classwise.data.cifar10 import CLASS_NAMES
from classwise.data.fetch import ARCHIVES, default_folder, fetch

FOLDER = "cifar-10-batches-py"
BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
PIXELS = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def batch_bytes(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A small batch in the form of the official ones: protocol 2, strings of Python 2."""
    n = len(labels).to_bytes(4, "little")
    data = RECONSTRUCT + b"(K\x01J" + n + b"M\x00\x0c\x86" + PIXELS
    data += b"\x89T" + pixels.size.to_bytes(4, "little") + pixels.tobytes() + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x06labels" + listed + b"U\x04data" + data + b"u."


def publish(monkeypatch: pytest.MonkeyPatch, **changed) -> None:
    """Changes what is known of the published archive."""
    (download,) = ARCHIVES["cifar10"].downloads
    published = replace(ARCHIVES["cifar10"], downloads=(replace(download, **changed),))
    monkeypatch.setitem(ARCHIVES, "cifar10", published)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Six batches of eight images in ``tmp_path / FOLDER``; their MD5s replace the published ones."""
    rng = np.random.default_rng(0)
    (tmp_path / FOLDER).mkdir()
    pixels, sums = {}, {}
    for file in BATCHES:
        pixels[file] = rng.integers(0, 256, (8, 3072), dtype=np.uint8)
        content = batch_bytes(pixels[file], [(int(file[-1], 36) + i) % 10 for i in range(8)])
        (tmp_path / FOLDER / file).write_bytes(content)
        sums[file] = hashlib.md5(content).hexdigest()
    publish(monkeypatch, members={f"{FOLDER}/{file}": md5 for file, md5 in sums.items()})
    return pixels


# --- reading ---


@pytest.mark.parametrize("inner", ["", FOLDER])
def test_batches_are_joined_in_order(small: dict[str, np.ndarray], tmp_path: Path, inner: str):
    data = load("cifar10", folder=tmp_path / inner)
    want = np.concatenate([small[file] for file in BATCHES[:5]]).reshape(40, 3, 32, 32)
    np.testing.assert_array_equal(data.train.images.numpy(), want)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.tolist() == [(number + i) % 10 for number in range(1, 6) for i in range(8)]
    assert data.train.index.tolist() == list(range(40))
    np.testing.assert_array_equal(data.test.images.numpy().reshape(8, 3072), small["test_batch"])
    assert data.class_names[0] == "airplane"
    assert data.class_names[9] == "truck"
    assert (data.name, data.train.name, data.train.shape, data.train.num_classes) == (
        "cifar10",
        "cifar10",
        (3, 32, 32),
        10,
    )


def test_the_images_are_writable_and_own_their_memory(small: dict[str, np.ndarray], tmp_path: Path):
    first, second = load("cifar10", folder=tmp_path).test, load("cifar10", folder=tmp_path).test
    first.images.zero_()
    assert second.images.any()


def test_test_images_are_read_only_when_asked_for(small: dict[str, np.ndarray], tmp_path: Path):
    (tmp_path / FOLDER / "test_batch").write_bytes(b"spoilt")
    data = load("cifar10", folder=tmp_path)
    assert len(data.train) == 40
    with pytest.raises(ValueError, match=r"test_batch' is damaged"):
        _ = data.test


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch"])
def test_a_missing_file_is_named_at_once(small: dict[str, np.ndarray], tmp_path: Path, file: str):
    (tmp_path / FOLDER / file).unlink()
    with pytest.raises(ValueError, match=rf"{file}' is missing: fetch it with `classwise data fetch cifar10`"):
        load("cifar10", folder=tmp_path)


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:900] + bytes([b[900] ^ 1]) + b[901:], lambda b: b""])
def test_a_damaged_file_is_not_interpreted(small: dict[str, np.ndarray], tmp_path: Path, spoil, monkeypatch):
    path = tmp_path / FOLDER / "data_batch_2"
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt)
    read = []
    monkeypatch.setattr("classwise.data.cifar10.read_pickle", lambda content, name: read.append(name) or {})
    found = hashlib.md5(spoilt).hexdigest()
    with pytest.raises(ValueError, match=rf"data_batch_2' is damaged \(MD5 {found} instead of \w+\): fetch it"):
        load("cifar10", folder=tmp_path)
    assert [Path(name).name for name in read] == ["data_batch_1"]


def test_even_with_the_right_sum_a_bomb_is_not_run(small: dict[str, np.ndarray], tmp_path: Path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-run",))

    content = pickle.dumps(Bomb(), 2)
    (tmp_path / FOLDER / "data_batch_1").write_bytes(content)
    (download,) = ARCHIVES["cifar10"].downloads
    sums = {**download.members, f"{FOLDER}/data_batch_1": hashlib.md5(content).hexdigest()}
    publish(monkeypatch, members=sums)
    with pytest.raises(ValueError, match=r"asks for .* nothing in it was run"):
        load("cifar10", folder=tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_no_folder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"no CIFAR-10 in .*nowhere': fetch it with `classwise data fetch cifar10`"):
        load("cifar10", folder=tmp_path / "nowhere")
    monkeypatch.setenv("CLASSWISE_DATA", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=rf"no CIFAR-10 in .*cache.*{FOLDER}'"):
        load("cifar10")


def test_an_empty_folder_means_the_cache(small: dict[str, np.ndarray], tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CLASSWISE_DATA", str(tmp_path))
    assert default_folder("cifar10") == tmp_path / FOLDER
    assert len(load("cifar10").train) == 40


def test_it_is_a_component():
    assert registry.get("data", "cifar10") is CIFAR10
    source = CIFAR10(folder="here")
    assert to_plain(source) == {"name": "cifar10", "folder": "here"}
    assert from_plain(DataSource, to_plain(source)) == source


def test_six_files_have_a_published_sum():
    assert list(ARCHIVES["cifar10"].files) == BATCHES
    assert all(len(md5) == 32 for md5 in ARCHIVES["cifar10"].files.values())


# --- fetching ---


def packed(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            info.size = len(content) if isinstance(content, bytes) else 0
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def batches(small: dict[str, np.ndarray], tmp_path: Path) -> dict[str, bytes]:
    return {f"{FOLDER}/{file}": (tmp_path / FOLDER / file).read_bytes() for file in BATCHES}


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Lets ``pooch.retrieve`` deliver an archive with given members."""

    def make(members):
        archive = packed(tmp_path / "archive.tar.gz", members)
        monkeypatch.setattr(pooch, "retrieve", lambda *_, **__: str(archive))
        return archive

    return make


def test_known_members_are_unpacked_and_the_archive_is_removed(batches, offer, tmp_path: Path):
    archive = offer({**batches, f"{FOLDER}/batches.meta": b"unused", f"{FOLDER}/readme.html": b"unused"})
    folder = fetch("cifar10", tmp_path / "to", progress=False)
    assert folder == tmp_path / "to" / FOLDER
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name.rpartition("/")[2]: content for name, content in batches.items()
    }
    assert not archive.exists()
    assert len(load("cifar10", folder=folder).train) == 40


def test_intact_files_are_not_fetched_again_damaged_ones_are(batches, offer, tmp_path: Path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr(pooch, "retrieve", never)
    assert fetch("cifar10", tmp_path, progress=False) == tmp_path / FOLDER
    (tmp_path / FOLDER / "data_batch_4").write_bytes(b"half a file")
    offer(batches)
    fetch("cifar10", tmp_path, progress=False)
    assert (tmp_path / FOLDER / "data_batch_4").read_bytes() == batches[f"{FOLDER}/data_batch_4"]


def test_members_outside_the_folder_are_ignored(batches, offer, tmp_path: Path):
    absolute = str(tmp_path / "absolute")
    evil = {"../evil": b"x", absolute: b"x", f"{FOLDER}/../../evil": b"x", f"{FOLDER}/sub/evil": b"x"}
    evil[f"{FOLDER}/link"] = link(tarfile.SYMTYPE, "/etc")
    offer({**evil, **batches})
    folder = fetch("cifar10", tmp_path / "a" / "b", progress=False)
    assert sorted(path.name for path in folder.iterdir()) == BATCHES
    assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "absolute", "link", "sub")]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.SYMTYPE, r"holds '.*data_batch_1' not as a file but as a link or device: delete it"),
        (tarfile.LNKTYPE, r"holds '.*data_batch_1' not as a file"),
        (tarfile.FIFOTYPE, r"holds '.*data_batch_1' not as a file"),
        (tarfile.DIRTYPE, r"does not hold '.*data_batch_1'"),
    ],
)
def test_a_batch_that_is_no_plain_file_is_refused(batches, offer, tmp_path: Path, kind: bytes, message: str):
    secret = tmp_path / "secret"
    secret.write_bytes(b"untouched")
    offer({**batches, f"{FOLDER}/data_batch_1": link(kind, str(secret))})
    with pytest.raises(ValueError, match=message):
        fetch("cifar10", tmp_path / "to", progress=False)
    assert "data_batch_1" not in {path.name for path in (tmp_path / "to" / FOLDER).iterdir()}
    assert secret.read_bytes() == b"untouched"


def test_a_link_in_the_target_folder_is_replaced_not_followed(batches, offer, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"untouched")
    (tmp_path / "to" / FOLDER).mkdir(parents=True)
    (tmp_path / "to" / FOLDER / "data_batch_1").symlink_to(secret)
    offer(batches)
    fetch("cifar10", tmp_path / "to", progress=False)
    assert secret.read_bytes() == b"untouched"


def test_wrong_content_and_missing_members_are_refused(batches, offer, tmp_path: Path):
    offer({**batches, f"{FOLDER}/data_batch_5": b"other"})
    with pytest.raises(ValueError, match=r"'data_batch_5' in .* has not its published MD5"):
        fetch("cifar10", tmp_path / "to", progress=False)
    offer({name: content for name, content in batches.items() if not name.endswith("test_batch")})
    with pytest.raises(ValueError, match=r"does not hold '.*test_batch' .*: delete it and fetch"):
        fetch("cifar10", tmp_path / "to", progress=False)


@pytest.mark.parametrize("keep", [0, 0.2, 0.9])
def test_a_truncated_archive_is_refused(batches, offer, tmp_path: Path, keep: float):
    archive = offer(batches)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match=r"cannot be unpacked|breaks off"):
        fetch("cifar10", tmp_path / "to", progress=False)


@pytest.mark.parametrize("error", [requests.ConnectionError("no route\nto host"), requests.Timeout(), OSError("down")])
@pytest.mark.parametrize("progress", [False, True])
def test_without_a_network_the_message_says_what_to_do(error, progress: bool, tmp_path: Path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(ValueError, match=r"cannot reach https://www\.cs\.toronto\.edu/.*--data\.folder$") as caught:
        fetch("cifar10", tmp_path, progress=progress)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot write to .*file.*CLASSWISE_DATA"):
        fetch("cifar10", tmp_path / "file", progress=False)


def test_an_unknown_data_set_suggests_a_known_one():
    with pytest.raises(ValueError, match=r"'cifar-10' cannot be fetched: did you mean 'cifar10'"):
        fetch("cifar-10")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A web server on this machine for ``tmp_path / 'www'``; its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "www").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "www")) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize("progress", [False, True])
def test_the_real_download_checks_the_sum_and_draws_a_bar(
    batches, server, tmp_path: Path, monkeypatch, capsys, progress
):
    archive = packed(tmp_path / "www" / "small.tar.gz", batches)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    publish(monkeypatch, url=f"{server}/small.tar.gz", md5=md5)
    folder = fetch("cifar10", tmp_path / "to", progress=progress)
    assert sorted(path.name for path in folder.iterdir()) == BATCHES
    drawn = capsys.readouterr().err
    assert ("small.tar.gz ━" in drawn) == progress
    assert not (tmp_path / "to" / "small.tar.gz").exists()


def test_a_download_with_another_sum_is_deleted(batches, server, tmp_path: Path, monkeypatch):
    packed(tmp_path / "www" / "small.tar.gz", batches)
    publish(monkeypatch, url=f"{server}/small.tar.gz")
    with pytest.raises(ValueError, match=r"has not the published MD5 c58f.* and was deleted: try again later"):
        fetch("cifar10", tmp_path / "to", progress=False)
    assert not any((tmp_path / "to" / FOLDER).iterdir())
    assert not (tmp_path / "to" / "small.tar.gz").exists()
    publish(monkeypatch, url=f"{server}/absent.tar.gz")
    with pytest.raises(ValueError, match=r"cannot reach .*HTTPError: 404"):
        fetch("cifar10", tmp_path / "to", progress=False)


# --- the real thing ---


@pytest.fixture(scope="module")
def decoder(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_cifar10", shared / "data" / "read_cifar10.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_official_files_hold_the_official_images(decoder: ModuleType, tmp_path: Path):
    decoder.write_official(tmp_path)
    data = load("cifar10", folder=tmp_path)
    assert len(data.train) == 50_000
    assert len(data.test) == 10_000
    for split, role in (("train", data.train), ("test", data.test)):
        images, labels, names = decoder.read(split)
        np.testing.assert_array_equal(role.images.permute(0, 2, 3, 1).numpy(), images)
        np.testing.assert_array_equal(role.labels.numpy(), labels)
        assert role.class_names == tuple(names)
        assert role.labels.bincount().tolist() == [len(role) // 10] * 10
    assert fetch("cifar10", tmp_path) == tmp_path / FOLDER  # intact: no download


def test_class_names_and_sums_agree_with_the_reference_reader(decoder: ModuleType, shared: Path):
    part = np.load(shared / "data" / "cifar10" / "test_a_200.npz", allow_pickle=False)
    assert tuple(str(name) for name in part["class_names"]) == CLASS_NAMES
    assert ARCHIVES["cifar10"].files == decoder.MD5
