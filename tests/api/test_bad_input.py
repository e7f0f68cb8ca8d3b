"""What a caller may get wrong: one ``ValueError`` that names the thing and the mend, and nothing is lost."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise.data import load
from classwise.data.fetch import ARCHIVES
from classwise.evaluation import AuditResult
from classwise.progress import Silent

Train = Callable[..., cw.Run]
NAMES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory, toy: type) -> Path:
    """A finished run; not to be changed."""
    config = cw.recipe(
        "digits-pgd-at",
        data=toy(),
        model=cw.models.Linear(),
        split=cw.data.Split(at_least=2),
        batch_size=16,
        epochs=2,
        adversary=cw.attacks.PGD(steps=2),
        validation_attack=cw.attacks.PGD(steps=2),
    )
    return cw.train(config, tmp_path_factory.mktemp("api") / "run", progress=Silent()).path


@pytest.fixture
def run(shared_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(shared_run, tmp_path / "finished")


def linear(*last: nn.Module, pixels: int = 16, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes), *last).eval()


def audit(model: object, data: object, **options: object) -> AuditResult:
    return cw.audit(model, data, threat=cw.linf("0.1"), attacks="pgd-1", progress=Silent(), **options)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            torch.full((3, 1, 2, 2), 1.5),
            torch.arange(3),
            r"images of 'mine' run from 1\.5 to 1\.5: scale them to \[0, 1\]",
        ),
        (torch.full((3, 1, 2, 2), -0.1), torch.arange(3), r"images of 'mine' run from -0\.1 to -0\.1: scale them"),
        (torch.full((3, 1, 2, 2), torch.nan), torch.arange(3), r"3 images of 'mine' hold values that are not numbers"),
        (torch.full((3, 1, 2, 2), torch.inf), torch.arange(3), r"run from inf to inf: scale them"),
        (torch.zeros(3, 1, 2, 2), torch.arange(3) + 1, r"labels of 'mine' run from 1 to 3: .* must lie in 0\.\.2"),
        (torch.zeros(3, 1, 2, 2), torch.arange(3) - 1, r"labels of 'mine' run from -1 to 1: .* must lie in 0\.\.2"),
        (torch.zeros(3, 2, 2), torch.arange(3), r"images of 'mine' have shape \(3, 2, 2\) .* give \(N, C, H, W\)"),
        (torch.zeros(3, 1, 2, 2).double(), torch.arange(3), r"type torch\.float64: give \(N, C, H, W\) as uint8"),
        (torch.zeros(3, 1, 2, 2), torch.arange(2), r"labels of 'mine' have shape \(2,\) .* shape \(3,\)"),
        (torch.zeros(3, 1, 2, 2), torch.zeros(3), r"labels of 'mine' .* type torch\.float32: give one int64 per image"),
        (torch.zeros(3, 1, 2, 2).numpy(), torch.arange(3), r"images of 'mine' are a ndarray: give a torch tensor"),
        (torch.zeros(3, 1, 2, 2), [0, 1, 2], r"labels of 'mine' are a list: give a torch tensor"),
    ],
)
def test_bad_images_and_labels(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cw.ClassData(images, labels, NAMES, name="mine")


def test_bytes_need_no_scaling() -> None:
    data = cw.ClassData(torch.full((3, 1, 2, 2), 255, dtype=torch.uint8), torch.arange(3), NAMES)
    assert data.batch(slice(None))[0].max() == 1


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("range", "images of 'toy' run from"),
        ("nan", "hold values that are not numbers"),
        ("labels", "labels of 'toy' run from 1 to 3"),
        ("untrained", "class 'bee' has 0 training images"),
    ],
)
def test_bad_training_data_leave_the_folder_usable(flaw: str, message: str, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", flaw=flaw)
    assert {each.name for each in (tmp_path / "run").iterdir()} <= {"run.lock"}
    assert train(tmp_path / "run", epochs=1).directory.status["state"] == "finished"


def test_a_class_without_test_images(toy: type) -> None:
    with pytest.raises(ValueError, match=r"class 'bee' has no sample in the test images of 'toy': .* give samples"):
        audit(linear(), load("toy", flaw="untested"))


class InDict(nn.Linear):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(x.flatten(1))}


BAD_MODELS = {
    "softmax": (lambda: linear(nn.Softmax(1)), r"outputs are probabilities .* remove its final softmax"),
    "function": (lambda: lambda x: x.flatten(1)[:, :3].softmax(1), "outputs are probabilities"),
    "nan": (lambda: lambda x: x.flatten(1)[:, :3] / 0, r"entries that are not finite: check its weights"),
    "classes": (lambda: linear(classes=4), r"answers \(8, 4\) to \(8, 1, 4, 4\): .* each of the 3 classes"),
    "scalar": (lambda: linear(nn.Flatten(0)), r"answers \(24,\) to \(8, 1, 4, 4\)"),
    "dict": (lambda: InDict(16, 3).eval(), "answers with a dict and not with a tensor: wrap it"),
    "shape": (
        lambda: linear(pixels=36),
        r"cannot be run on images of 'toy', shape \(1, 4, 4\), .* give images of the shape",
    ),
    "type": (lambda: linear().double(), r"cannot be run on images of 'toy', .* type torch\.float32"),
    "assertion": (lambda: Asserting().eval(), r"cannot be run on images of 'toy', .* \(height 4 is not 32\)"),
    "channels": (
        lambda: cw.Normalized(linear(pixels=48), (0.5,) * 3, (0.2,) * 3),
        r"images have 1 channels and the normalisation has 3: give one mean and std for each channel",
    ),
    "weights": (lambda: linear().state_dict(), "the model is a OrderedDict, which cannot be called on images"),
}


class Asserting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] == 32, f"height {x.shape[2]} is not 32"
        return x


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(name: str, images: cw.Dataset) -> None:
    make, message = BAD_MODELS[name]
    with pytest.raises(ValueError, match=message):
        audit(make(), images)


@pytest.mark.parametrize("name", ["softmax", "classes", "dict", "shape", "assertion"])
def test_bad_models_are_not_repaired(name: str, images: cw.Dataset, tmp_path: Path) -> None:
    make, message = BAD_MODELS[name]
    with pytest.raises(ValueError, match=message.replace("8,", "6,").replace("24", "18")):
        cw.finetune(make(), images, recipe="digits-faal", out=tmp_path / "run", split=cw.data.Split(at_least=2))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_outputs_like_logits_are_not_taken_for_probabilities(images: cw.Dataset) -> None:
    for last in (nn.LogSoftmax(1), nn.Sigmoid(), nn.ReLU(), nn.Identity()):
        assert len(audit(linear(last), images).outcomes.label) == 18


def test_a_model_in_train_mode(images: cw.Dataset) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3))
    for wrong in (model, cw.Normalized(model, (0.5,), (0.2,))):
        with pytest.raises(ValueError, match=r"the model is in train mode: call model\.eval\(\) before auditing"):
            audit(wrong, images)
    model.eval()
    assert len(audit(model, images).outcomes.label) == 18
    assert len(audit(cw.Normalized(model, (0.5,), (0.2,)), images).outcomes.label) == 18
    model[1].train()
    with pytest.raises(ValueError, match="the model is in train mode"):
        audit(model, images)
    assert [each.training for each in model] == [False, True, False]


@pytest.mark.filterwarnings("ignore:the repair did not succeed")
def test_a_model_in_train_mode_may_be_repaired(images: cw.Dataset, tmp_path: Path) -> None:
    model = linear().train()
    small = {"epochs": 1, "split": cw.data.Split(at_least=2), "validation_attack": cw.attacks.PGD(steps=1)}
    with pytest.warns(UserWarning, match="the start model is not robust"):
        run = cw.finetune(
            model, images, recipe="digits-faal", out=tmp_path / "run", progress=Silent(), threat=cw.linf(0.9), **small
        )
    assert model.training
    assert not run.model().training


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        ("8", "radius 8 is larger than the whole pixel range .* write 8/255"),
        (8, "radius 8 is larger than the whole pixel range .* write 8/255"),
        (-0.1, r"radius '-0\.1' must be a finite number of at least 0"),
        ("-8/255", "radius '-8/255' must be a finite number of at least 0: write it like 8/255"),
        (float("nan"), "radius 'nan' must be a finite number"),
        ("eight", "radius 'eight' is not a number: write it like 8/255"),
    ],
)
def test_bad_radii(radius: float | str, message: str) -> None:
    for make in (
        lambda: cw.linf(radius),
        lambda: cw.ThreatModel(radius=radius),  # type: ignore[arg-type]
        lambda: cw.ThreatModel(radius=radius),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_radii_of_the_euclidean_norm_may_be_longer() -> None:
    assert float(cw.l2(8).radius) == 8
    with pytest.raises(ValueError, match="must be a finite number of at least 0"):
        cw.l2(-1)


def test_numbers_that_make_no_sense(run: Path, images: cw.Dataset) -> None:
    with pytest.raises(ValueError, match="batch_size 0 must be at least 1"):
        audit(linear(), images, batch_size=0)
    with pytest.raises(ValueError, match="-1 samples of each class were asked for"):
        cw.Run(run).audit(per_class=-1)
    with pytest.raises(ValueError, match="no threat model given"):
        cw.audit(linear(), images, threat=[])
    with pytest.raises(ValueError, match="no attack given"):
        cw.audit(linear(), images, attacks=[])
    with pytest.raises(ValueError, match="no data given"):
        cw.audit(linear())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "meta.json"])
def test_a_damaged_checkpoint(name: str, damage: str, run: Path) -> None:
    path = run / "checkpoints" / (run / "checkpoints" / "best").read_text().strip() / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        whole[:middle] if damage == "truncated" else whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    )
    if damage == "missing":
        path.unlink()
    message = f"{name}' is damaged|no meta.json" if damage == "missing" else f"{name}' is damaged"
    for use in (lambda: cw.Run(run).model(), lambda: cw.audit(run), lambda: cw.Run(run).audit()):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.filterwarnings("default:.*going back to the checkpoint before it")
def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(
    train: Train, toy: type, tmp_path: Path, shared_run: Path
) -> None:
    train(tmp_path / "run")
    (tmp_path / "run" / "status.json").unlink()
    (tmp_path / "run" / "checkpoints" / "2" / "model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="model.safetensors' is damaged .* going back to the checkpoint before it"):
        train(tmp_path / "run")
    file = Path("checkpoints") / "2" / "model.safetensors"
    assert (tmp_path / "run" / file).read_bytes() == (shared_run / file).read_bytes()


def test_weights_that_are_not_those_of_the_network(run: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the weights in '.*' do not fit the network .* use the code they were trained"
    ):
        cw.Run(run, network=linear(classes=4)).model()


@pytest.mark.parametrize(
    ("name", "text", "use", "message"),
    [
        ("config.yaml", "epochs: [", cw.Run, r"config\.yaml' is not valid YAML"),
        ("config.yaml", "epohcs: 3", cw.Run, r"config\.yaml: unknown key 'epohcs': did you mean 'epochs'\?"),
        ("status.json", "{", lambda path: repr(cw.Run(path)), r"status\.json' is damaged: delete it"),
        ("events.jsonl", "garbage\n", lambda path: cw.Run(path).history, r"line 1 of '.*events\.jsonl' is damaged"),
        ("events.jsonl", "[]\n", lambda path: cw.Run(path).history, r"line 1 of '.*events\.jsonl' is damaged"),
        ("checkpoints/best", "x", lambda path: cw.Run(path).model(), "pointer file '.*best' is damaged"),
    ],
)
def test_damaged_records(name: str, text: str, use: Callable[[Path], object], message: str, run: Path) -> None:
    (run / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        use(run)


def test_a_last_line_cut_short_by_a_crash_is_left_out(run: Path) -> None:
    before = cw.Run(run).history
    assert len(before) == 2
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "epo')
    assert cw.Run(run).history == before


@pytest.mark.parametrize("damage", ["truncated", "missing"])
@pytest.mark.parametrize("name", ["outcomes.npz", "examples.npz", "summary.json"])
def test_a_damaged_audit(name: str, damage: str, images: cw.Dataset, tmp_path: Path) -> None:
    audit(linear(), images).save(tmp_path / "mine")
    path = tmp_path / "mine" / name
    path.write_bytes(path.read_bytes()[:100])
    if damage == "missing":
        path.unlink()
    for use in (lambda: AuditResult.load(tmp_path / "mine"), lambda: cw.compare(tmp_path / "mine", tmp_path / "mine")):
        with pytest.raises(ValueError, match=r"run the audit again$") as caught:
            use()
        assert name in str(caught.value)


def test_a_damaged_data_file(tmp_path: Path) -> None:
    for file in ARCHIVES["cifar10"].files:
        (tmp_path / file).write_bytes(b"\x80\x02")
    with pytest.raises(ValueError, match=r"data_batch_1' is damaged \(MD5 .*\): fetch it with"):
        load("cifar10", folder=tmp_path)
    (tmp_path / "test_batch").unlink()
    with pytest.raises(ValueError, match="test_batch' is missing: fetch it with"):
        load("cifar10", folder=tmp_path)
    with pytest.raises(ValueError, match=r"unknown key 'data.foldr': did you mean 'folder'"):
        load("cifar10", foldr=tmp_path)


def test_a_folder_that_holds_another_run(train: Train, run: Path, tmp_path: Path) -> None:
    before = content(run)
    with pytest.raises(ValueError, match=r"holds another run \(seed: 0 → 1\): give another output folder"):
        train(run, seed=1)
    assert content(run) == before


def test_a_folder_that_holds_another_audit(images: cw.Dataset, tmp_path: Path) -> None:
    first = audit(linear(), images)
    first.save(tmp_path / "mine")
    before = content(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"'.*mine' holds another audit: give another output folder"):
        audit(linear(), images, seed=1).save(tmp_path / "mine")
    with pytest.raises(ValueError, match="holds another audit"):
        audit(lambda x: x.flatten(1)[:, :3], images).save(tmp_path / "mine")
    assert content(tmp_path / "mine") == before
    assert first.save(tmp_path / "mine").folder == tmp_path / "mine"


def test_a_full_disk(train: Train, shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.fsync, [14]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"cannot write '.*': no space left on device; free some space"):
        train(tmp_path / "run")
    assert cw.Run(tmp_path / "run").directory.status["state"] == "running"
    monkeypatch.setattr(os, "fsync", real)
    train(tmp_path / "run")
    file = Path("checkpoints") / "2" / "model.safetensors"
    assert (tmp_path / "run" / file).read_bytes() == (shared_run / file).read_bytes()


def test_messages_end_in_a_mend(run: Path, tmp_path: Path) -> None:
    """A sample of what is said: what is wrong, a colon, and what to do."""
    wrong = [
        lambda: cw.Run(tmp_path / "none"),
        lambda: cw.audit(tmp_path / "none"),
        lambda: cw.finetune(tmp_path / "none", out=tmp_path / "out"),
        lambda: AuditResult.load(run),
        lambda: cw.Run(run).checkpoint("9"),
    ]
    for use in wrong:
        with pytest.raises(ValueError) as caught:
            use()
        assert re.fullmatch(r"[^\n]+[:;] [^\n]+", str(caught.value))
