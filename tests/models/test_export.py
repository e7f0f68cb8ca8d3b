"""Exports: the weights come back with equal logits, and every figure stands with what it holds for."""

import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
import yaml
from torch import Tensor, nn

import classwise as cw
from classwise.data import ClassData, Dataset, Split
from classwise.evaluation import AuditResult
from classwise.exported import export, portable
from classwise.models import (
    CNN3,
    Linear,
    ModelBuilder,
    Normalized,
    PreActResNet18,
    ResNet18,
    ResNetCIFAR,
    SmallCNN,
    SmallViT,
    WideResNet,
    load_foreign,
)
from classwise.models.export import load_exported, network_facts, read_facts, write_onnx, write_weights
from classwise.report.card import escaped, model_card
from classwise.run import Run

SHAPE = (3, 8, 8)
NASTY = "cat | dog\n# <b>[x](y)</b> `z` *w* \u202e$"
"""A class name that would be a table cell, a heading, HTML, a link, code and more."""
NAMES = ("ant", NASTY, "bee_1")


def images(per_class: int, seed: int) -> ClassData:
    labels = torch.arange(3).repeat(per_class)
    x = 0.3 * torch.rand(len(labels), *SHAPE, generator=torch.Generator().manual_seed(seed))
    x[torch.arange(len(labels)), labels] += 0.5
    return ClassData(x, labels, NAMES, name="toy")


def toy() -> Dataset:
    return Dataset("toy", train=images(14, 1), test=lambda: images(6, 2))


def train(folder: Path, model: ModelBuilder | nn.Module, **changes: object) -> Run:
    config = cw.recipe(
        "digits-pgd-at", split=Split(at_least=2), epochs=2, batch_size=16, threat=cw.linf(0.1), **changes
    )
    if isinstance(model, nn.Module):
        return cw.train(config, folder, data=toy(), network=model)
    return cw.train(dataclasses.replace(config, model=model), folder, data=toy())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two epochs with one audit at two radii; not to be changed."""
    run = train(tmp_path_factory.mktemp("export") / "at", Linear(), keep_every=1)
    run.audit(threat=[cw.linf(0.1), cw.linf("8/255")], attacks="pgd-2", precision="exact")
    return run


def audited(run: Run) -> AuditResult:
    (seal,) = run.path.glob("audits/*/summary.json")
    return AuditResult.load(seal.parent)


def batch() -> Tensor:
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(3))


def no_claims(text: str) -> bool:
    return not re.search(r"\bfair|unfair", text, re.IGNORECASE)


# --- safetensors ---


def test_an_exported_run_loads_back_and_gives_equal_logits(run: Run, tmp_path: Path) -> None:
    written = export(run, tmp_path / "out")
    assert written.files == ("facts.json", "model.safetensors")
    assert torch.equal(load_exported(tmp_path / "out")(batch()), run.model()(batch()))


@pytest.mark.parametrize(
    "builder",
    [PreActResNet18(width=2), WideResNet(depth=10, widen=1, sub_block=True), SmallViT(patch_size=4, width=8, depth=1)],
    ids=lambda each: each.registered_name,
)
def test_networks_of_every_kind_come_back_from_their_facts(builder: ModelBuilder, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = builder.build(3, SHAPE)
    network(torch.rand(8, *SHAPE))  # moves running statistics
    network = network.eval().to(memory_format=torch.channels_last)
    digest = write_weights(network, tmp_path / "model.safetensors")
    facts = network_facts(network, builder, NAMES, SHAPE) | {"format": 1, "weights": {}}
    (tmp_path / "facts.json").write_text(json.dumps(facts | {"files": {"model.safetensors": digest}}))
    assert torch.equal(load_exported(tmp_path)(batch()), network.to(memory_format=torch.contiguous_format)(batch()))
    other = builder.build(3, SHAPE).eval()
    load_foreign(other, tmp_path / "model.safetensors")  # the file alone is enough where the network is named
    assert torch.equal(other(batch()), network(batch()))


def test_every_checkpoint_can_be_exported(run: Run, tmp_path: Path) -> None:
    for number in ("1", "2"):
        export(run, tmp_path / number, checkpoint=number)
        assert torch.equal(load_exported(tmp_path / number)(batch()), run.model(number)(batch()))
        assert read_facts(tmp_path / number)["weights"]["epochs"] == int(number)
    with pytest.raises(ValueError, match="has no checkpoint '7'"):
        export(run, tmp_path / "7", checkpoint="7")


def test_averaged_weights_are_exported_as_such(tmp_path: Path) -> None:
    from classwise.averaging import EpochEMA

    run = train(tmp_path / "run", Linear(), averaging=EpochEMA(decay=0.5))
    export(run, tmp_path / "out")
    assert read_facts(tmp_path / "out")["weights"]["which"] == "averaged"
    assert torch.equal(load_exported(tmp_path / "out")(batch()), run.model("selected")(batch()))
    assert not torch.equal(run.model("selected")(batch()), run.model("last")(batch()))


def test_the_file_holds_tensors_and_nothing_else(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(run.model().state_dict())
        assert file.metadata() == {"format": "pt"}


class Handed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 8 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def test_a_network_handed_over_in_python_needs_to_be_handed_over_again(tmp_path: Path) -> None:
    network = Normalized(Handed(), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    run = train(tmp_path / "run", network)
    export(run, tmp_path / "out", "huggingface")
    with pytest.raises(ValueError, match="was handed over in Python: pass the same network again"):
        load_exported(tmp_path / "out")
    again = Normalized(Handed(), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert torch.equal(load_exported(tmp_path / "out", again)(batch()), run.model()(batch()))
    stated = read_facts(tmp_path / "out")["normalisation"]
    assert stated["inside the network"] is True
    assert stated["mean"] == [0.4, 0.5, 0.6]
    assert stated["std"] == [0.2, 0.25, 0.3]
    assert (
        "Normalisation inside the network: by mean [0.4, 0.5, 0.6] and" in (tmp_path / "out" / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "facts.json").unlink(), "holds no export: it has no facts.json"),
        (lambda folder: (folder / "facts.json").write_text("{"), "is damaged: export again"),
        (lambda folder: (folder / "facts.json").write_text('{"format": 1}'), "is damaged: export again"),
        (lambda folder: (folder / "facts.json").write_text('{"format": 99}'), "later version of classwise"),
        (lambda folder: (folder / "model.safetensors").unlink(), "SHA-256 differs"),
        (lambda folder: (folder / "model.safetensors").open("r+b").write(b"x"), "SHA-256 differs"),
    ],
)
def test_a_damaged_export_is_refused(run: Run, tmp_path: Path, damage, said: str) -> None:
    export(run, tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(ValueError, match=said):
        load_exported(tmp_path / "out")


def test_only_a_new_folder_or_an_export_of_the_same_weights_is_written_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no export: give another folder"):
        export(run, tmp_path / "full")
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["notes.txt"]
    export(run, tmp_path / "out", checkpoint="1")
    with pytest.raises(ValueError, match=r"holds an export of other weights \(at\): give another folder"):
        export(run, tmp_path / "out", checkpoint="2")
    both = export(run, tmp_path / "out", "huggingface", checkpoint="1")
    assert both.files == ("README.md", "config.json", "facts.json", "model.safetensors", "preprocessor_config.json")
    with pytest.raises(ValueError, match="format 'pickle' is unknown: safetensors, onnx or huggingface"):
        export(run, tmp_path / "new", "pickle")  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


# --- facts ---


def test_the_facts_tell_what_a_stranger_needs(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "facts.json").read_text(encoding="utf-8"))
    assert facts["architecture"] == {"name": "linear"}
    assert facts["classes"] == facts["groups"] == list(NAMES)
    assert facts["input"] == {"channels": 3, "height": 8, "width": 8, "type": "float32", "range": [0, 1]}
    assert facts["normalisation"] is None
    assert facts["parameters"] == 3 * 8 * 8 * 3 + 3
    assert facts["training"]["recipe"] == "digits-pgd-at"
    threat = {"norm": "linf", "radius": "0.1", "channels": [], "box": True}
    assert facts["training"]["configuration"]["threat"] == threat
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert facts["files"] == {"model.safetensors": hashlib.sha256(content).hexdigest()}


def tables(facts: dict[str, object]) -> Iterator[tuple[dict, dict]]:
    for audit in facts["audits"]:
        for table in audit["tables"]:
            yield audit, table


def test_every_accuracy_of_the_facts_stands_with_what_it_holds_for(run: Run, tmp_path: Path) -> None:
    result = audited(run)
    export(run, tmp_path / "out")
    facts = read_facts(tmp_path / "out")
    assert [table["threat"] for _, table in tables(facts)] == [str(each) for each in result.plan.threats]
    for radius, (_, table) in enumerate(tables(facts)):
        assert (table["data"], table["split"], table["precision"], table["seed"]) == ("toy", "test", "exact", 0)
        assert table["suite"] == "pgd-2"
        ours, classes = result.table(radius), table["classes"]
        assert classes["names"] == list(NAMES)
        assert classes["n"] == [6, 6, 6]
        for column in ("clean", "robust", "boundary"):
            for end in ("", "_low", "_high"):
                assert classes[column + end] == pytest.approx(getattr(ours, column + end))
        for name in ("mean", "worst", "best", "gap", "clean", "boundary"):
            assert {"value", "low", "high", "n", "method"} <= set(table[name])
        assert table["worst"]["value"] == pytest.approx(ours.worst.value)


def test_the_facts_tell_nothing_of_the_machine(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "huggingface")
    for name in ("facts.json", "README.md", "config.json", "preprocessor_config.json"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert str(run.path.parent) not in text
        assert str(Path(cw.__file__).parents[1]) not in text
        assert no_claims(text)
    for audit, _ in tables(read_facts(tmp_path / "out")):
        assert set(audit["environment"]) <= {"classwise", "python", "torch", "search"}


def test_absolute_paths_are_cut_and_infinities_are_words() -> None:
    plain = {
        "a": "/home/me/runs/at",
        "b": ["C:\\data\\cifar", "~/x/y"],
        "c": "8/255",
        "d": float("inf"),
        "e": "runs/at",
        "f": 0.5,
    }
    assert portable(plain) == {"a": "at", "b": ["cifar", "y"], "c": "8/255", "d": "inf", "e": "runs/at", "f": 0.5}


def test_only_audits_of_the_exported_weights_are_part_of_it(run: Run, tmp_path: Path) -> None:
    chosen = run.checkpoint()[0].name
    other = "1" if chosen == "2" else "2"
    assert len(export(run, tmp_path / "chosen").audits) == 1
    assert export(run, tmp_path / "other", "huggingface", checkpoint=other).audits == ()
    assert read_facts(tmp_path / "other")["audits"] == []
    assert "These weights were not audited" in (tmp_path / "other" / "README.md").read_text(encoding="utf-8")


def test_a_damaged_audit_is_left_out_with_a_note(run: Run, tmp_path: Path) -> None:
    import shutil

    copied = Run(shutil.copytree(run.path, tmp_path / "at"), dataset=toy())
    (seal,) = copied.path.glob("audits/*/summary.json")
    (seal.parent / "outcomes.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"one audit is left out: .*outcomes\.npz"):
        assert export(copied, tmp_path / "out").audits == ()


# --- the model card ---


def rows(card: str) -> list[list[str]]:
    """Cells of every table row of a card."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("|")]


def test_the_card_carries_the_class_table_with_everything_it_holds_for(run: Run, tmp_path: Path) -> None:
    result = audited(run)
    export(run, tmp_path / "out", "huggingface")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    found = rows(card)
    assert len(found) == 2 * (2 + 3 + 2)  # at each radius a head, a rule, the classes, all images, the worst class
    for radius, threat in enumerate(result.plan.threats):
        table = result.table(radius)
        head, _, *body = found[7 * radius : 7 * radius + 7]
        assert head == ["class", "n", "clean % [95 % interval]", "robust % [95 % interval]"]
        for each, cells in zip(table.rows(), body[:3], strict=True):
            assert cells == [
                escaped(each["name"]),
                str(each["n"]),
                *(
                    f"{100 * each[c]:.1f} [{100 * each[c + '_low']:.1f}, {100 * each[c + '_high']:.1f}]"
                    for c in ("clean", "robust")
                ),
            ]
        worst = table.worst
        assert body[4][1:] == [
            "18",
            "",
            f"{100 * worst.value:.1f} [{100 * worst.low:.1f}, {100 * worst.high:.1f}]",
        ] or (body[4][1] == str(worst.n))
        assert body[4][3] == f"{100 * worst.value:.1f} [{100 * worst.low:.1f}, {100 * worst.high:.1f}]"
        caption = next(line for line in card.splitlines() if escaped(str(threat)) in line and "n = 18" in line)
        for told in ("toy/test", "n = 18", "pgd-2", "seed 0", "exact (fp32)"):
            assert told in caption
    assert no_claims(card)


def test_the_metadata_block_is_yaml_without_accuracies(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "huggingface")
    _, front, _ = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "classwise",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "adversarial-robustness", "class-wise-robustness"],
    }


def test_a_class_name_cannot_write_markdown(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "huggingface")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    told = re.sub(r"(?ms)^(`{3,})\w*$.*?^\1$", "", card)  # all but blocks of code
    assert "cat &#124; dog \\# &lt;b&gt;" in told
    assert "<b>" not in told
    assert "\u202e" not in told
    assert not re.search(r"(?m)^# <", told)
    assert not re.search(r"(?<!\\)[`*_\[\]|]", escaped(NASTY))
    assert [len(cells) for cells in rows(told)] == [4] * 14
    assert json.loads((tmp_path / "out" / "facts.json").read_text(encoding="utf-8"))["classes"][1] == NASTY
    settings = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert settings["id2label"] == {str(i): name for i, name in enumerate(NAMES)}
    assert settings["label2id"] == {name: i for i, name in enumerate(NAMES)}


def test_nothing_ends_the_block_of_the_configuration(run: Run) -> None:
    facts = {
        **json.loads(json.dumps(export_facts(run))),
        "training": {"recipe": "", "configuration": {"note": "a\n```\n# not a heading"}},
    }
    card = model_card(facts, ())
    block = card[card.index("````yaml") :]
    assert block.index("# not a heading") < block.index("\n````\n")


def export_facts(run: Run) -> dict[str, object]:
    facts = network_facts(run.model(), Linear(), NAMES, SHAPE)
    return {**facts, "name": "at", "classwise": "0", "weights": {"which": "raw", "epochs": 1}}


def test_failed_checks_are_told(run: Run) -> None:
    from classwise.evaluation.check import Check

    doubted = dataclasses.replace(
        audited(run),
        checks=(
            Check("zero-gradients", "fail", "All gradients are 0 | <here>.", "x"),
            Check("other", "pass", "Fine.", "x"),
        ),
    )
    facts = {**export_facts(run), "training": {"recipe": "r", "configuration": {}}}
    card = model_card(facts, [doubted])
    assert (
        "What speaks against these figures:\n\n- fail, zero-gradients: All gradients are 0 &#124; &lt;here>"
        in card.replace("&gt;", ">")
    )
    assert "Fine." not in card


def test_the_preprocessing_leaves_normalisation_to_the_network(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "huggingface")
    preparing = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert preparing["do_normalize"] is False
    assert preparing["rescale_factor"] * 255 == pytest.approx(1)
    assert preparing["size"] == {"height": 8, "width": 8}


# --- ONNX ---


def test_a_missing_onnx_package_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"needs the package onnx, .*: pip install onnx onnxscript"):
        export(run, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


ONNX_BUILDERS = [
    Linear(),
    SmallCNN(width=4, hidden=8),
    CNN3(width=4),
    PreActResNet18(width=2),
    ResNet18(width=2),
    ResNetCIFAR(depth=8),
    WideResNet(depth=10, widen=1, sub_block=True),
    SmallViT(patch_size=4, width=8, depth=1),
]


@pytest.mark.slow
@pytest.mark.parametrize("builder", ONNX_BUILDERS, ids=lambda each: each.registered_name)
def test_the_onnx_classifier_gives_the_logits_for_any_number_of_images(builder: ModelBuilder, tmp_path: Path) -> None:
    """Against the runtime of another project; the normalisation is inside."""
    pytest.importorskip("onnxscript", reason="ONNX export needs onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime reads the files")
    torch.manual_seed(0)
    network = Normalized(builder.build(3, SHAPE), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    network(torch.rand(16, *SHAPE))
    network.train()
    write_onnx(network, SHAPE, tmp_path / "model.onnx", {"classes": json.dumps(NAMES)})
    assert network.training  # as it was
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["images"]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(NAMES)
    network.eval()
    for n in (1, 2, 7):
        x = torch.rand(n, *SHAPE)
        (got,) = session.run(None, {"images": x.numpy()})
        want = network(x).detach().numpy()
        assert got.shape == (n, 3)
        assert np.allclose(got, want, rtol=0, atol=1e-5 * max(1, np.abs(want).max()))


@pytest.mark.slow
def test_the_onnx_file_is_checked_and_tells_nothing_of_the_machine(run: Run, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX export needs onnx")
    pytest.importorskip("onnxscript", reason="ONNX export needs onnxscript")
    written = export(run, tmp_path / "out", "onnx")
    assert written.files == ("facts.json", "model.onnx")
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert b"site-packages" not in content
    assert str(Path(cw.__file__).parent).encode() not in content
    assert b"stack_trace" not in content
    assert read_facts(tmp_path / "out")["files"] == {"model.onnx": hashlib.sha256(content).hexdigest()}
    with pytest.raises(ValueError, match=r"holds no model\.safetensors, only model\.onnx"):
        load_exported(tmp_path / "out")
    export(run, tmp_path / "out", "safetensors")
    assert set(read_facts(tmp_path / "out")["files"]) == {"model.onnx", "model.safetensors"}


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if float(x.sum()) > 0 else -x.flatten(1)


@pytest.mark.slow
def test_a_network_without_onnx_form_is_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="ONNX export needs onnxscript")
    with pytest.raises(ValueError, match=r"has no ONNX form \(.*\): export it as safetensors") as caught:
        write_onnx(Branching(), SHAPE, tmp_path / "model.onnx", {})
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "model.onnx").exists()
