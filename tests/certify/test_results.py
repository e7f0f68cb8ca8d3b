"""Class-wise figures from known certificates, and their files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classwise import ClassData
from classwise.configuration import from_yaml
from classwise.configuration import replace as changed
from classwise.evaluation.certificates import Certificates, CertifyPlan, CertifyResult
from classwise.evaluation.certify import every_kth, plan_certify
from classwise.evaluation.smoothing import Sampling
from classwise.metrics import wilson
from classwise.radius import Radius


@pytest.fixture
def result() -> CertifyResult:
    """Three classes: a certified to 0.1, 0.2, 0.3, 0.4; b abstained, wrong, 0.25, 0.25; c abstained twice."""
    data = ClassData(torch.rand(10, 1, 2, 2), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2]), ("a", "b", "c"))
    plan = plan_certify(data, model="net", sampling=Sampling(sigma=Radius("0.25"), n=100))
    certificates = Certificates(
        index=data.index.numpy(),
        label=data.labels.numpy(),
        group=data.groups.numpy(),
        prediction=np.array([0, 0, 0, 0, -1, 2, 1, 1, -1, -1]),
        radius=np.array([0.1, 0.2, 0.3, 0.4, 0, 0.9, 0.25, 0.25, 0, 0]),
        votes=np.full(10, 100),
        hits=np.full(10, 77),
    )
    return CertifyResult(plan, certificates, "abc", {"torch": "?"})


def test_certified_accuracy_counts_right_and_far_enough_only(result: CertifyResult) -> None:
    expected = {
        0: [1, 0.5, 0],
        0.1: [1, 0.5, 0],
        0.11: [0.75, 0.5, 0],
        0.25: [0.5, 0.5, 0],  # at exactly this radius it still holds
        0.3: [0.5, 0, 0],
        0.41: [0, 0, 0],
    }
    tables = dict(zip(expected, result.curve(list(expected)), strict=True))
    for radius, shares in expected.items():
        assert tables[radius].robust.tolist() == shares
        assert tables[radius].clean.tolist() == [1, 0.5, 0]
    table = result.certified(0.25)
    assert table.n.tolist() == [4, 4, 2]
    assert table.mean.value == 0.4
    assert table.worst.value == 0
    assert table.weakest == "c"
    low, high = wilson([2, 2, 0], [4, 4, 2])
    assert np.allclose(table.robust_low, low)
    assert np.allclose(table.robust_high, high)


def test_abstentions_are_counted_per_class_and_never_certified(result: CertifyResult) -> None:
    assert [(each.value, each.n) for each in result.abstention] == [(0, 4), (0.25, 4), (1, 2)]
    assert (result.abstention[1].low, result.abstention[1].high) == tuple(float(x) for x in wilson(1, 4))
    assert not (result.certificates.certified() & result.certificates.abstained).any()


def test_the_text_names_the_weakest_class_and_all_columns(result: CertifyResult) -> None:
    text = str(result)
    assert "net: data/test, n = 10, smoothing with sigma 0.25, 100 + 100 votes, alpha 0.001, seed 0, fp32" in text
    assert "50.0 [15.0, 85.0]" in next(line for line in text.splitlines() if line.startswith(" b "))
    assert "weakest at 0.125" in next(line for line in text.splitlines() if line.startswith(" c "))
    assert "Certified accuracy at 0.25, mean over samples: 40.0 %" in text
    assert "certified % at 0.35" in result.text([0.35])


def test_nothing_is_said_beyond_the_radius_at_which_voting_ended(result: CertifyResult) -> None:
    assert result.radii == (0, 0.125, 0.25, 0.5)
    sampling = Sampling(sigma=Radius("0.25"), n=100, stop="split-alpha", enough=Radius("0.2"))
    ended = replace(result, plan=changed(result.plan, sampling=sampling))
    assert ended.radii == (0, 0.125, 0.2)
    assert ended.certified(0.2).robust.tolist() == [0.75, 0.5, 0]
    with pytest.raises(ValueError, match=r"nothing is known about radius 0\.21: certify again with enough=0\.21"):
        ended.certified(0.21)
    with pytest.raises(ValueError, match="must be at least 0"):
        result.certified(-0.1)


def test_saving_and_loading_gives_the_same(result: CertifyResult, tmp_path: Path) -> None:
    saved = result.save(tmp_path / "out")
    assert {each.name for each in saved.folder.iterdir()} == {"certify.yaml", "certificates.npz", "summary.json"}
    loaded = CertifyResult.load(saved.folder)
    assert loaded.plan == result.plan == from_yaml(CertifyPlan, saved.folder / "certify.yaml")
    for name, values in vars(result.certificates).items():
        assert np.array_equal(getattr(loaded.certificates, name), values)
        assert getattr(loaded.certificates, name).dtype == values.dtype
    assert str(loaded) == str(result)
    summary = json.loads((saved.folder / "summary.json").read_text())
    assert [table["radius"] for table in summary["tables"]] == [0, 0.125, 0.25, 0.5]
    assert summary["tables"][2]["classes"]["robust"] == [0.5, 0.5, 0]
    assert summary["tables"][2]["weakest"] == "c"
    assert summary["abstained"]["c"]["value"] == 1
    result.save(tmp_path / "out")  # the same again is no loss


def test_damaged_and_foreign_folders_are_refused(result: CertifyResult, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished certification"):
        CertifyResult.load(tmp_path)
    result.save(tmp_path)
    with pytest.raises(ValueError, match=r"holds another certification \(sampling\.sigma: 0\.25 → 0\.5\)"):
        replace(result, plan=changed(result.plan, sampling=Sampling(sigma=Radius("0.5"), n=100))).save(tmp_path)
    with pytest.raises(ValueError, match=r"holds another certification \(another model\)"):
        replace(result, weights="xyz").save(tmp_path)
    content = (tmp_path / "certificates.npz").read_bytes()
    (tmp_path / "certificates.npz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="missing or damaged"):
        CertifyResult.load(tmp_path)
    (tmp_path / "summary.json").write_text('{"plan": 3}')
    with pytest.raises(ValueError, match="damaged or no certification"):
        CertifyResult.load(tmp_path)


def test_every_kth_image_is_taken_class_by_class() -> None:
    labels = torch.tensor([0] * 7 + [1] * 3 + [0] * 2 + [1] * 2)
    data = ClassData(torch.rand(14, 1, 2, 2), labels, ("a", "b"), index=torch.arange(14) * 10)
    assert every_kth(data, 3).index.tolist() == [0, 30, 60, 70, 120]  # of a: 0, 3, 6; of b: 7, 12
    assert every_kth(data, 1).index.tolist() == data.index.tolist()
    assert every_kth(data, 100).index.tolist() == [0, 70]
    with pytest.raises(ValueError, match="at least every 1st"):
        every_kth(data, 0)
    groups = torch.tensor([0, 1] * 7)
    grouped = ClassData(data.images, labels, ("a", "b"), groups=groups, group_names=("even", "odd"))
    assert every_kth(grouped, 7).index.tolist() == [0, 1]


def test_a_class_without_samples_is_refused() -> None:
    data = ClassData(torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), ("a", "b", "c"))
    with pytest.raises(ValueError, match="class 'b' has no sample"):
        plan_certify(data, model="net", sampling=Sampling(sigma=Radius("0.25")))
