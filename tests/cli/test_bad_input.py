"""What a user may get wrong: one sentence that names the thing and the mend, exit code 2, and nothing is lost."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from classwise.data.fetch import ARCHIVES

Cli = Callable[..., tuple[int, str, str]]
TOY = Path(__file__).with_name("toy.py")


def refused(answer: tuple[int, str, str], *parts: str) -> None:
    """The command ended with code 2 and one sentence that holds these parts."""
    code, _, err = answer
    assert code == 2, answer
    assert "Traceback" not in err
    assert err.startswith("classwise ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.lock"
    }


@pytest.mark.parametrize(
    ("flaw", "parts"),
    [
        ("range", ["images of 'toy' run from", "to 25", "scale them to [0, 1]", "classwise.Normalized"]),
        ("negative", ["images of 'toy' run from -", "scale them to [0, 1]"]),
        ("nan", ["1 images of 'toy' hold values that are not numbers (NaN)", "leave these images out"]),
        ("labels", ["labels of 'toy' run from 1 to 3", "with 3 names they must lie in 0..2"]),
        ("untrained", ["class 'bee' has 0 training images", "drop the class"]),
    ],
)
def test_bad_training_images(flaw: str, parts: list[str], train: Cli, tmp_path: Path) -> None:
    refused(train(tmp_path / "run", "--data.flaw", flaw), *parts)
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert train(tmp_path / "run", "--epochs", "1")[0] == 0  # the mended command may use the same folder


def test_a_class_without_test_images(train: Cli, cli: Cli, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--data.flaw", "untested", "--epochs", "1")[0] == 0
    before = content(tmp_path / "run")
    refused(
        cli("audit", tmp_path / "run"),
        "class 'bee' has no sample in the test images of 'toy'",
        "give samples of every class",
    )
    assert content(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("flaw", "parts"),
    [
        ("softmax", ["the model's outputs are probabilities", "remove its final softmax"]),
        ("nan", ["output has entries that are not finite", "check its weights"]),
        ("classes", ["the model answers (6, 4) to (6, 1, 4, 4)", "one logit for each of the 3 classes"]),
        ("dict", ["the model answers with a dict and not with a tensor", "so that it returns logits"]),
    ],
)
def test_bad_networks_are_refused_before_training(flaw: str, parts: list[str], train: Cli, tmp_path: Path) -> None:
    refused(train(tmp_path / "run", "--model.flaw", flaw, model="flawed"), *parts)


def plain_weights(path: Path, **replaced: torch.Tensor) -> Path:
    state = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).state_dict()
    safetensors.torch.save_file(state | replaced, path)
    return path


def test_a_network_that_ends_in_softmax_is_not_audited(cli: Cli, trained: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "soft.py"
    plugin.write_text(
        "from torch import nn\n"
        "from classwise import config, register\n"
        "from classwise.models import ModelBuilder\n"
        '@register("model", "soft")\n'
        "@config\n"
        "class Soft(ModelBuilder):\n"
        "    def build(self, classes, shape):\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(16, classes), nn.Softmax(1))\n",
        encoding="utf-8",
    )
    file = plain_weights(tmp_path / "w.safetensors")
    words = ["--data", "toy", "--network", "soft", "--plugin", plugin, "--radius", "0.1"]
    refused(cli("audit", file, *words), "outputs are probabilities", "remove its final softmax")


def test_weights_that_are_not_numbers_are_not_audited(cli: Cli, trained: Path, tmp_path: Path) -> None:
    file = plain_weights(tmp_path / "w.safetensors", **{"1.bias": torch.full((3,), float("nan"))})
    words = ["--data", "toy", "--network", "linear", "--radius", "0.1"]
    refused(cli("audit", file, *words), "entries that are not finite", "check its weights")


def test_a_network_that_stays_in_train_mode_is_not_audited(train: Cli, cli: Cli, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--model.flaw", "stubborn", "--epochs", "1", model="flawed")[0] == 0
    refused(cli("audit", tmp_path / "run"), "the model is in train mode", "call model.eval()")


def test_images_of_another_shape(cli: Cli, trained: Path) -> None:
    refused(
        cli("audit", trained, "--data", "toy-large"),
        "the model cannot be run on images of 'toy', shape (1, 6, 6)",
        "give images of the shape it was made for",
    )


@pytest.mark.parametrize(
    ("radius", "parts"),
    [
        ("8", ["radius 8 is larger than the whole pixel range", "write 8/255"]),
        ("-8/255", ["radius '-8/255' must be a finite number of at least 0", "write it like 8/255"]),
        ("much", ["much", "write it like 8/255"]),
        ("nan", ["radius 'nan' must be a finite number"]),
        ("8/0", ["8/0", "write it like 8/255"]),
    ],
)
def test_bad_radii(radius: str, parts: list[str], cli: Cli, trained: Path, tmp_path: Path) -> None:
    for answer in (
        cli("audit", trained, f"--radius={radius}"),
        cli("train", "digits-pgd-at", f"--threat.radius={radius}", "--out", tmp_path / "run"),
    ):
        code, _, err = answer
        plain = " ".join(err.replace("│", " ").split())
        assert code == 2
        assert "Traceback" not in err
        for part in parts:
            assert part in plain
    assert not (tmp_path / "run").exists()


def test_numbers_that_make_no_sense(cli: Cli, trained: Path) -> None:
    refused(cli("audit", trained, "--batch-size", "0"), "batch_size 0 must be at least 1")
    refused(cli("audit", trained, "--per-class", "-1"), "-1 samples of each class were asked for", "at least 1")
    refused(cli("audit", trained, "--device", "cuda:99"), "device 'cuda:99' is not available here", "classwise doctor")
    refused(cli("audit", trained, "--checkpoint", "7"), "no checkpoint '7'", "keep_epochs keeps more")
    refused(cli("audit", trained, "--norm", "l2"), "--norm l2 needs a --radius")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "meta.json"])
def test_damaged_checkpoints_are_not_audited(name: str, damage: str, cli: Cli, finished: Path) -> None:
    for number in ("1", "2"):
        hurt(finished / "checkpoints" / number / name, damage)
    before = content(finished)
    refused(cli("audit", finished), name, "it has no" if (name, damage) == ("meta.json", "missing") else "is damaged")
    assert content(finished) == before


def hurt(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    changed = bytes([whole[len(whole) // 2] ^ 1])
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "flipped": whole[: len(whole) // 2] + changed + whole[len(whole) // 2 + 1 :],
            "empty": b"",
            "missing": b"",
        }[damage]
    )
    if damage == "missing":
        path.unlink()


@pytest.mark.parametrize("damage", ["truncated", "empty"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_damaged_files_of_weights(suffix: str, damage: str, cli: Cli, trained: Path, tmp_path: Path) -> None:
    file = plain_weights(tmp_path / "w.safetensors")
    if suffix == ".pt":
        torch.save(safetensors.torch.load_file(file), file := tmp_path / "w.pt")
    hurt(file, damage)
    words = ["--data", "toy", "--network", "linear"]
    refused(cli("audit", file, *words), str(file), "is damaged, truncated or no checkpoint at all", "save it again")
    words = ["--use", "data=toy", "--use", "model=linear", "--split.at-least", "2", "--out", tmp_path / "repair"]
    refused(cli("finetune", file, *words), str(file), "is damaged")
    assert not (tmp_path / "repair" / "config.yaml").exists()


def test_weights_of_another_network(cli: Cli, trained: Path, tmp_path: Path) -> None:
    file = plain_weights(tmp_path / "w.safetensors", **{"1.weight": torch.zeros(3, 25)})
    code, _, err = cli("audit", file, "--data", "toy", "--network", "linear")
    assert code == 2
    assert "is not one of this model (1 tensors differ): choose the architecture" in err
    assert "1.weight (3, 16)  1.weight (3, 25)" in err


@pytest.mark.parametrize(
    ("name", "text", "verbs", "parts"),
    [
        ("config.yaml", "epochs: [", ["audit", "report", "train"], ["config.yaml' is not valid YAML"]),
        ("config.yaml", "epohcs: 3\n", ["audit", "report", "train"], ["unknown key 'epohcs': did you mean 'epochs'?"]),
        ("status.json", "{", ["train"], ["status.json' is damaged", "delete it"]),
        ("status.json", "[]", ["train"], ["status.json' is damaged", "delete it"]),
        ("events.jsonl", "{}\n", ["train"], ["line 1 of", "events.jsonl' is damaged", "restore the file"]),
        ("events.jsonl", "garbage\nmore\n", ["train"], ["line 1 of", "events.jsonl' is damaged"]),
        ("events.jsonl", "", ["train"], ["events.jsonl' no longer tells of 'epoch", "can be audited without it"]),
        ("checkpoints/best", "two\n", ["audit", "train"], ["pointer file", "write the number of a checkpoint"]),
    ],
)
def test_damaged_records_of_a_run(
    name: str, text: str, verbs: list[str], parts: list[str], cli: Cli, train: Cli, finished: Path
) -> None:
    (finished / name).write_text(text, encoding="utf-8")
    before = content(finished)
    for verb in verbs:
        refused(train(finished) if verb == "train" else cli(verb, finished), *parts)
    assert content(finished) == before


def test_a_deleted_status_is_mended_by_the_same_command(train: Cli, finished: Path) -> None:
    before = content(finished)
    (finished / "status.json").unlink()
    assert train(finished)[0] == 0
    after = content(finished)
    for name in ("status.json", "checkpoints/2/model.safetensors", "config.yaml", "events.jsonl"):
        assert after[name] == before[name]


@pytest.mark.parametrize("damage", ["truncated", "missing"])
@pytest.mark.parametrize("name", ["outcomes.npz", "examples.npz", "summary.json"])
def test_damaged_audits_are_not_compared(name: str, damage: str, cli: Cli, finished: Path, tmp_path: Path) -> None:
    cli("audit", finished, "--attacks", "pgd-1", "--out", tmp_path / "mine")
    hurt(tmp_path / "mine" / name, damage)
    refused(cli("compare", tmp_path / "mine", tmp_path / "mine"), str(tmp_path / "mine"), "run the audit again")
    refused(cli("report", tmp_path / "mine"), "run the audit again")


@pytest.mark.filterwarnings("default:.*; doing that now")
@pytest.mark.parametrize("name", ["outcomes.npz", "examples.npz"])
def test_a_damaged_audit_of_a_run_is_made_again(name: str, cli: Cli, finished: Path) -> None:
    first = cli("audit", finished, "--attacks", "pgd-1")
    (folder,) = (finished / "audits").iterdir()
    before = content(folder)
    hurt(folder / name, "truncated")
    second = cli("audit", finished, "--attacks", "pgd-1")
    assert second[:2] == first[:2]
    assert name in second[2]
    assert "doing that now" in second[2]
    assert content(folder)["outcomes.npz"] == before["outcomes.npz"]


def test_a_damaged_data_file(cli: Cli, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in ARCHIVES["cifar10"].files:
        (folder / file).write_bytes(b"\x80\x02}q\x01")
    for place in (folder, tmp_path):
        refused(
            cli("audit", trained, "--data", "cifar10", "--data-dir", place), "is damaged (MD5", "data fetch cifar10"
        )
    (folder / "data_batch_3").unlink()
    refused(cli("audit", trained, "--data", "cifar10", "--data-dir", folder), "data_batch_3' is missing", "fetch it")
    refused(cli("audit", trained, "--data", "cifar10", "--data-dir", tmp_path / "no"), "there is no CIFAR-10 in")
    words = ["--data.folder", folder, "--out", tmp_path / "run"]
    refused(cli("train", "cifar10-prn18-pgd-at", *words), "data_batch_3' is missing")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_whose_plug_in_is_not_given(cli: Cli, finished: Path) -> None:
    config = finished / "config.yaml"
    config.write_text(config.read_text().replace("name: toy", "name: toyy"), encoding="utf-8")
    (kept,) = (finished / "plugins").iterdir()
    parts = ["unknown data 'toyy'", "plug-ins", f"give --plugin {kept}"]
    refused(cli("audit", finished), *parts)
    refused(cli("report", finished), *parts)
    refused(cli("compare", finished, finished), *parts)
    refused(cli("finetune", finished, "--recipe", "digits-faal"), *parts)
    refused(cli("train", config), *parts)


def test_a_folder_that_holds_another_run(cli: Cli, train: Cli, finished: Path, tmp_path: Path) -> None:
    before = content(finished)
    refused(train(finished, "--seed", "1"), "holds another run (seed: 0 → 1)", "give another output folder")
    refused(
        cli("finetune", finished, "--recipe", "digits-faal", "--out", finished),
        "holds another run (recipe: digits-pgd-at → digits-faal; start: ",
    )
    assert content(finished) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    refused(train(tmp_path / "other"), "is not empty and holds no run (thesis.tex)", "give another output folder")
    (tmp_path / "file").write_text("")
    refused(train(tmp_path / "file"), "cannot use", "as output folder: File exists")
    refused(train(tmp_path / "file" / "run"), "cannot use", "as output folder: Not a directory")


def test_a_folder_that_holds_another_audit(cli: Cli, finished: Path, tmp_path: Path) -> None:
    assert cli("audit", finished, "--attacks", "pgd-1", "--out", tmp_path / "mine")[0] == 0
    before = content(tmp_path / "mine")
    answer = cli("audit", finished, "--attacks", "pgd-2", "--out", tmp_path / "mine")
    refused(answer, "holds another audit", "give another output folder")
    assert content(tmp_path / "mine") == before


class FullDisk:
    """Every flush to disk from the n-th on fails."""

    def __init__(self, after: int) -> None:
        self.left, self.real = after, os.fsync

    def __call__(self, handle: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.real(handle)


@pytest.mark.parametrize("after", [0, 3, 8, 12, 20, 30])
def test_a_full_disk_while_training(after: int, train: Cli, trained: Path, tmp_path: Path, monkeypatch) -> None:
    disk = FullDisk(after)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", disk)
        refused(train(tmp_path / "run"), "cannot write", "no space left on device", "free some space")
    assert disk.left < 0
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert train(tmp_path / "run")[0] == 0
    for name in ("1", "2"):
        file = Path("checkpoints") / name / "model.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (trained / file).read_bytes()


def test_a_full_disk_while_auditing(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for after in range(8):
        disk = FullDisk(after)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", disk)
            refused(cli("audit", finished, "--attacks", "pgd-1"), "cannot write", "no space left on device")
    code, _, _ = cli("audit", finished, "--attacks", "pgd-1")
    assert code == 0
    (folder,) = (finished / "audits").iterdir()
    files = {"audit.yaml", "outcomes.npz", "examples.npz", "summary.json"}
    assert {each.name for each in folder.iterdir()} == files | {"run.lock"}


def test_a_disk_without_room_for_a_report(cli: Cli, finished: Path, tmp_path: Path) -> None:
    cli("audit", finished, "--attacks", "pgd-1")
    (tmp_path / "file").write_text("")
    code, _, err = cli("report", finished, "--out", tmp_path / "file" / "report.html")
    assert (code, "Traceback" in err) == (2, False)
    assert "report.html" in err or "file" in err


def test_a_folder_that_is_no_run(cli: Cli, trained: Path, tmp_path: Path) -> None:
    refused(cli("audit", tmp_path), "is no checkpoint: it has no meta.json")
    shutil.copytree(trained / "checkpoints" / "2", tmp_path / "lost" / "2")
    refused(cli("audit", tmp_path / "lost" / "2"), "no data given")
