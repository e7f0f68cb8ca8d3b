"""The Hugging Face adapter: against a stand-in with its documented functions, and against transformers itself."""

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise.models import HuggingFace, Logits, Normalized, Resized, load_foreign
from classwise.models.wrapped import innermost
from classwise.progress import Silent

STATED = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "image_processor_type": "ViTImageProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 12, "width": 10},
}


def folder(path: Path, **changes: Any) -> HuggingFace:
    (path / "preprocessor_config.json").write_text(json.dumps(STATED | changes))
    return HuggingFace(checkpoint=str(path))


class Classifier(nn.Module):
    """Called with ``pixel_values``, answers with an object, as documented."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, labels)

    def forward(self, pixel_values: Tensor) -> Any:
        return types.SimpleNamespace(logits=self.head(pixel_values.mean((2, 3))), loss=None)


@pytest.fixture
def calls(stand_in: Callable[..., types.ModuleType]) -> list[tuple[str, bool]]:
    """A stand-in after https://huggingface.co/docs/transformers/model_doc/auto and, for single files, .../huggingface_hub.

    The list holds what was fetched, and whether the network was out of bounds.
    """
    made: list[tuple[str, bool]] = []

    def config(name: str, *, local_files_only: bool) -> Any:
        made.append(("config", local_files_only))
        if name == "nobody/nothing":
            raise OSError("nobody/nothing is not cached\nmore advice")
        return types.SimpleNamespace(num_labels=7, num_channels=3)

    def from_pretrained(name: str, *, config: Any, local_files_only: bool) -> nn.Module:
        made.append(("weights", local_files_only))
        return Classifier(config.num_labels)

    def download(name: str, file: str, *, local_files_only: bool) -> str:
        made.append((file, local_files_only))
        raise OSError("not there")

    stand_in(
        "transformers",
        AutoConfig=types.SimpleNamespace(from_pretrained=config),
        AutoModelForImageClassification=types.SimpleNamespace(
            from_pretrained=from_pretrained, from_config=lambda facts: Classifier(facts.num_labels)
        ),
    )
    stand_in("huggingface_hub", hf_hub_download=download)
    return made


def test_the_stated_preprocessing_goes_inside(calls: list[Any], tmp_path: Path):
    net = folder(tmp_path).build(5, (3, 8, 8))
    assert isinstance(net, Normalized)
    assert isinstance(net.net, Resized)
    assert isinstance(net.net.net, Logits)
    assert net.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert net.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert (net.net.size, net.net.interpolation) == ((12, 10), "bicubic")
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    assert calls == [("config", True)]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"size": 9}, (9, 9)),
        ({"size": {"shortest_edge": 9}}, (9, 9)),
        ({"size": {"shortest_edge": 9}, "crop_size": {"height": 7, "width": 6}}, (7, 6)),
        ({"size": None}, None),
    ],
)
def test_sizes_are_read_in_every_form(calls: list[Any], tmp_path: Path, changes: Any, size: Any):
    net = folder(tmp_path, **changes).build(5, (3, 8, 8))
    assert getattr(net.net, "size", None) == size


def test_no_normalisation_where_none_is_stated(calls: list[Any], tmp_path: Path):
    assert isinstance(folder(tmp_path, do_normalize=False).build(5, (3, 8, 8)), Resized)


def test_a_scaling_to_anything_else_is_refused_unless_told_how(calls: list[Any], tmp_path: Path):
    with pytest.raises(ValueError, match=r"does not scale its images to \[0, 1\] .*give mean and std"):
        folder(tmp_path, rescale_factor=1 / 127.5).build(5, (3, 8, 8))
    folder(tmp_path, rescale_factor=1 / 127.5)
    net = HuggingFace(checkpoint=str(tmp_path), mean=(0.5,) * 3, std=(0.5,) * 3).build(5, (3, 8, 8))
    assert net.mean.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_network_is_used_only_when_asked_for(calls: list[Any], pretrained: bool):
    builder = HuggingFace(checkpoint="google/some", pretrained=pretrained, mean=(0.5,) * 3, std=(0.5,) * 3)
    builder.build(7, (3, 8, 8))
    offline = not pretrained
    weights = [("weights", offline)] if pretrained else []
    assert calls == [("config", offline), *weights, ("preprocessor_config.json", offline)]


def test_a_folder_never_needs_the_network(calls: list[Any], tmp_path: Path):
    folder(tmp_path)
    HuggingFace(checkpoint=str(tmp_path), pretrained=True).build(7, (3, 8, 8))
    assert calls == [("config", True), ("weights", True)]


def test_what_cannot_be_used_is_refused(calls: list[Any], tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"no checkpoint 'nobody/nothing' to be had \(nobody/nothing is not cached\): give"
    ):
        HuggingFace(checkpoint="nobody/nothing").build(5, (3, 8, 8))
    with pytest.raises(ValueError, match=r"'google/some' has no preprocessor_config\.json: give mean and std"):
        HuggingFace(checkpoint="google/some").build(5, (3, 8, 8))
    with pytest.raises(ValueError, match="takes 3 channels and the images have 1"):
        folder(tmp_path).build(5, (1, 8, 8))
    with pytest.raises(ValueError, match="tell 7 classes apart and the data has 5"):
        HuggingFace(checkpoint=str(tmp_path), pretrained=True).build(5, (3, 8, 8))


# --- the real package ---


@pytest.fixture
def vit(real: Callable[[str], Any], tmp_path: Path) -> Any:
    """A small randomly initialised ViT, saved in a folder with its preprocessing; nothing is downloaded."""
    transformers = real("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    facts = transformers.ViTConfig(**sizes, image_size=16, patch_size=4, num_channels=3, num_labels=5)
    net = transformers.ViTForImageClassification(facts).eval()
    net.save_pretrained(tmp_path)
    folder(tmp_path, size={"height": 16, "width": 16})
    return net


@pytest.mark.filterwarnings("ignore")
def test_a_real_folder_computes_what_transformers_computes(vit: Any, tmp_path: Path):
    """Images of the network's own size, normalised by hand."""
    net = HuggingFace(checkpoint=str(tmp_path), pretrained=True).build(5, (3, 16, 16)).eval()
    x = torch.rand(6, 3, 16, 16)
    by_hand = (x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    with torch.no_grad():
        assert torch.allclose(net(x), vit(pixel_values=by_hand).logits, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_real_network_is_audited_at_the_resolution_of_the_data(vit: Any, tmp_path: Path):
    net = HuggingFace(checkpoint=str(tmp_path), pretrained=True).build(5, (3, 8, 8)).eval()
    data = cw.ClassData(torch.rand(10, 3, 8, 8), torch.arange(10) % 5, tuple("abcde"))
    result = cw.audit(net, data, threat=cw.linf("8/255"), attacks="pgd-3", batch_size=8, progress=Silent())
    assert result.examples.perturbed.shape[1:] == (3, 8, 8)
    assert len(result.outcomes.label) == 10


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_weights_of_a_real_network_loads(vit: Any, tmp_path: Path):
    """A state dict. What ``save_pretrained`` writes may have other names, which only ``from_pretrained`` knows."""
    torch.manual_seed(1)
    net = HuggingFace(checkpoint=str(tmp_path)).build(5, (3, 16, 16))
    assert not torch.equal(innermost(net).state_dict()["classifier.weight"], vit.state_dict()["classifier.weight"])
    torch.save({"state_dict": vit.state_dict()}, tmp_path / "theirs.pth")
    load_foreign(net, tmp_path / "theirs.pth")
    loaded = innermost(net).state_dict()
    assert all(torch.equal(loaded[key], each) for key, each in vit.state_dict().items())


@pytest.mark.filterwarnings("ignore")
def test_the_real_package_refuses_with_us(vit: Any, tmp_path: Path):
    with pytest.raises(ValueError, match="tell 5 classes apart and the data has 10"):
        HuggingFace(checkpoint=str(tmp_path), pretrained=True).build(10, (3, 16, 16))
    assert HuggingFace(checkpoint=str(tmp_path)).build(10, (3, 16, 16)).eval()(torch.rand(1, 3, 16, 16)).shape == (
        1,
        10,
    )
    for missing in (str(tmp_path / "absent"), "nobody/nothing-at-all"):
        with pytest.raises(ValueError, match="there is no checkpoint"):
            HuggingFace(checkpoint=missing).build(10, (3, 16, 16))
