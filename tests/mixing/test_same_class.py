"""Mixing within a class: who is mixed with whom, by how much, and what a run makes of it."""

import gc
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from classwise import ClassData, Dataset, Run, linf, registry, train
from classwise.attacks import PGD
from classwise.configuration import from_plain, replace
from classwise.data import Augmentation, Batch, CropFlip, NoAugmentation, Resident, Split
from classwise.mixing import Mixing, NoMixing, SameClassMixup
from classwise.mixing.same_class import ByClass, symmetric_beta
from classwise.models import Linear
from classwise.objectives import AdversarialTraining, Natural, Trades
from classwise.policies import Fixed
from classwise.progress import Silent
from classwise.randomness import GeneratorNoise
from classwise.training import Hardware, TrainConfig

BOTH = [SameClassMixup(partners="class"), SameClassMixup(partners="batch")]
SIZES = (1, 2, 5, 12)
"""Samples of each class of the training set below; the first class is a singleton."""


def noise(seed: int = 0, total: int | None = None, rows: slice = slice(None)) -> GeneratorNoise:
    return GeneratorNoise(torch.Generator().manual_seed(seed), total, rows)


class Known(Resident):
    """Training images that are also at hand as they are, without any augmentation."""

    def __init__(self, data: ClassData, augmentation: Augmentation | None = None) -> None:
        super().__init__(data, augmentation or NoAugmentation(), torch.device("cpu"))
        assert isinstance(data.images, Tensor)
        self.images = data.images


def training_set(size: int = 3, augmentation: Augmentation | None = None) -> Known:
    """Random images of classes of different sizes in mixed order; the index of row i is 100 + 7 i."""
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(SIZES)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    images = torch.rand(len(labels), 1, size, size, generator=torch.Generator().manual_seed(4))
    data = ClassData(images, labels, ("a", "b", "c", "d"), index=100 + 7 * torch.arange(len(labels)))
    return Known(data, augmentation)


def batch(source: Known, rows: Tensor) -> Batch:
    labels = source.labels[rows]
    return Batch(source.images[rows], labels, labels, source.index[rows], len(rows), slice(None))


def everything(source: Known) -> Batch:
    return batch(source, torch.randperm(len(source), generator=torch.Generator().manual_seed(5)))


def partners(source: Known, given: Batch, mixed: Tensor, lam: float) -> Tensor:
    """Row of each image's partner in the training set, recovered from the mixed image; asserts that there is one."""
    other = (mixed.double() - lam * given.x.double()) / (1 - lam)
    apart = (other[:, None] - source.images.double()[None]).flatten(2).abs().amax(2)
    assert float(apart.amin(1).max()) < 1e-5
    assert float(apart.sort(1).values[:, 1].min()) > 1e-2
    return apart.argmin(1)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("mixing", BOTH, ids=lambda each: each.partners)
def test_the_partner_is_another_image_of_the_class(mixing: SameClassMixup, lam: float) -> None:
    source = training_set()
    given = everything(source)
    rows = torch.stack([(source.index == each).nonzero()[0, 0] for each in given.index])
    alone = torch.bincount(given.y)[given.y] == 1
    assert int(alone.sum()) == 1
    for seed in range(20):
        made = replace(mixing, lam=lam).before(given, source, noise(seed))
        assert torch.equal(made.x[alone], given.x[alone])
        found = partners(source, given, made.x, lam)
        assert torch.equal(source.labels[found], given.y)
        assert bool((found[~alone] != rows[~alone]).all())
        for name in ("y", "group", "index", "total", "rows"):
            assert getattr(made, name) is getattr(given, name)


@pytest.mark.parametrize("mixing", BOTH, ids=lambda each: each.partners)
def test_every_other_image_of_the_class_is_as_likely(mixing: SameClassMixup) -> None:
    """Chi-square of the partners of each image of the largest class, over many draws."""
    source = training_set()
    given = everything(source)
    draws = 2000
    counts = torch.zeros(len(source), len(source))
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        made = replace(mixing, lam=0.5).before(given, source, GeneratorNoise(generator))
        counts[torch.arange(len(source)), partners(source, given, made.x, 0.5)] += 1
    values = []
    for i, label in enumerate(given.y.tolist()):
        others = (source.labels == label) & (source.index != given.index[i])
        assert int(counts[i].sum()) == int(counts[i][others].sum()) + (draws if SIZES[label] == 1 else 0)
        if SIZES[label] > 2:
            values.append(stats.chisquare(counts[i][others].numpy()).pvalue)
    assert len(values) == 17
    assert min(values) > 1e-3 / len(values)
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_an_image_without_a_partner_stays_as_it_is() -> None:
    """It is its own partner, and is not mixed with another crop of itself."""
    rows = torch.arange(6)
    classes = ByClass.of(torch.tensor([2, 0, 1, 0, 3, 3]))
    assert classes.size.tolist() == [1, 2, 1, 2, 2, 2]
    for u in (0.0, 0.5, 1 - 2**-24):
        assert classes.partner(rows, torch.full((6,), u)).tolist() == [0, 3, 2, 1, 5, 4]
    source = training_set(size=8, augmentation=CropFlip(padding=2))
    given = batch(source, (source.labels == 0).nonzero()[:, 0])
    for mixing in BOTH:
        assert torch.equal(replace(mixing, alpha=0.5).before(given, source, noise()).x, given.x)


def test_partners_come_from_beyond_the_batch_or_only_from_it() -> None:
    """A batch of two images of the largest class: partners are all others of the class, or each other."""
    source = training_set()
    rows = (source.labels == 3).nonzero()[:2, 0]
    given = batch(source, rows)
    for mixing, expected in zip(BOTH, (set(range(12)), {0, 1}), strict=True):
        of_class = (source.labels == 3).nonzero()[:, 0].tolist()
        found = {
            of_class.index(int(row))
            for seed in range(100)
            for row in partners(source, given, mixing.before(given, source, noise(seed)).x, 0.5)
        }
        assert found == expected


def test_the_classes_are_looked_up_once_and_forgotten_with_the_training_set(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    ours = ByClass.of
    monkeypatch.setattr(ByClass, "of", lambda labels: made.append(len(labels)) or ours(labels))
    source, other = training_set(), training_set()
    for _ in range(3):
        for mixing in (SameClassMixup(), SameClassMixup(lam=0.1)):
            mixing.before(everything(source), source, noise())
    SameClassMixup().before(everything(other), other, noise())
    assert made == [20, 20]
    watch = weakref.ref(source)
    del source
    gc.collect()
    assert watch() is None


def test_partners_are_augmented_on_their_own() -> None:
    """With one partner to choose from, what differs from draw to draw is its crop."""
    source = training_set(size=8, augmentation=CropFlip(padding=2))
    rows = (source.labels == 1).nonzero()[:, 0]
    given = batch(source, rows)
    mixing = SameClassMixup(lam=0.0)
    seen = [mixing.before(given, source, noise(seed)).x[0] for seed in range(30)]
    assert len({tuple(each.flatten().tolist()) for each in seen}) > 20
    generator = torch.Generator().manual_seed(0)
    GeneratorNoise(generator).uniform(torch.empty(2, 1))
    expected = source.take(rows.flip(0), GeneratorNoise(generator))
    assert torch.equal(mixing.before(given, source, noise(0)).x, expected)


@pytest.mark.parametrize("stage", ["before", "after"])
def test_a_share_of_one_changes_no_bit(stage: Any) -> None:
    source = training_set(augmentation=CropFlip(padding=1))
    given = everything(source)
    x_adv = (given.x + 0.1 * torch.rand(given.x.shape)).clamp(0, 1)
    for mixing in (SameClassMixup(lam=1.0, partners="batch", stage=stage), SameClassMixup(lam=1.0)):
        assert torch.equal(mixing.before(given, source, noise()).x, given.x)
        made, moved = mixing.after(given, x_adv, noise())
        assert torch.equal(made.x, given.x)
        assert torch.equal(moved, x_adv)


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.2, 2.0])
def test_mixed_images_stay_in_the_box_and_in_the_ball(alpha: float) -> None:
    """Exactly in the box, also at its corners; perturbed images as near to the mixed clean ones as they were to theirs."""
    source = training_set(size=6)
    given = everything(source)
    given = given.with_images(given.x.round())
    signs = torch.rand(given.x.shape, generator=torch.Generator().manual_seed(0)).round() * 2 - 1
    x_adv = (given.x + 8 / 255 * signs).clamp(0, 1)
    for seed in range(50):
        for mixing in (SameClassMixup(lam=0.3, alpha=alpha), SameClassMixup(lam=0.7, alpha=alpha, partners="batch")):
            made = mixing.before(given, source, noise(seed))
            assert 0 <= float(made.x.min()) <= float(made.x.max()) <= 1
        late = SameClassMixup(lam=0.3, alpha=alpha, partners="batch", stage="after")
        made, moved = late.after(given, x_adv, noise(seed))
        assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
        assert float((moved - made.x).abs().max()) <= 8 / 255 + 1e-6
        assert not torch.equal(made.x, given.x)


def test_after_the_attack_both_are_mixed_alike() -> None:
    """The same partner and share for the clean and the perturbed image, and nothing happens before the attack."""
    source = training_set()
    given = everything(source)
    x_adv = torch.rand(given.x.shape, generator=torch.Generator().manual_seed(8))
    mixing = SameClassMixup(alpha=0.7, partners="batch", stage="after")
    assert mixing.before(given, source, noise()) is given
    made, moved = mixing.after(given, x_adv, noise())
    earlier = replace(mixing, stage="before")
    assert earlier.after(given, x_adv, noise()) == (given, x_adv)
    assert torch.equal(made.x, earlier.before(given, source, noise()).x)
    assert torch.equal(moved, earlier.before(given.with_images(x_adv), source, noise()).x)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("mixing", BOTH, ids=lambda each: each.partners)
def test_the_same_generator_gives_the_same_images(mixing: SameClassMixup, alpha: float) -> None:
    mixing = replace(mixing, alpha=alpha)
    given = everything(training_set())
    first, again, other = (mixing.before(given, training_set(), noise(seed)).x for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_the_number_of_processes_changes_nothing(alpha: float) -> None:
    """Two processes, each with every second row, together mix as one does, augmentation included."""
    source = training_set(size=8, augmentation=CropFlip(padding=2))
    whole = everything(source)
    mixing = SameClassMixup(alpha=alpha)
    one = mixing.before(whole, source, noise()).x
    for rank in range(2):
        rows = slice(rank, None, 2)
        mine = Batch(whole.x[rows], whole.y[rows], whole.group[rows], whole.index[rows], len(source), rows)
        assert torch.equal(mixing.before(mine, source, noise(0, len(source), rows)).x, one[rows])


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 2.0, 10.0])
def test_the_share_follows_a_beta_law(alpha: float) -> None:
    """Kolmogorov-Smirnov against SciPy in float64 (in float32 a small alpha has visible mass on 0 and 1)."""
    draws = torch.rand(2, 50_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = symmetric_beta(draws[0], draws[1], alpha)
    assert stats.kstest(values.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-2
    rounded = symmetric_beta(draws[0].float(), draws[1].float(), alpha)
    assert rounded.dtype == torch.float32
    assert float((rounded - symmetric_beta(*draws.float().double(), alpha)).abs().max()) < 1e-3


def test_the_share_is_a_number_at_every_corner() -> None:
    last = 1 - 2**-24
    first, second = torch.cartesian_prod(*[torch.tensor([0.0, 2**-24, 0.25, 0.5, 0.75, last])] * 2).T
    for alpha in (1e-3, 0.01, 0.5, 1.0, 1e3, 1e10):
        values = symmetric_beta(first, second, alpha)
        assert bool(((values >= 0) & (values <= 1)).all())
    draws = torch.rand(2, 1_000_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = symmetric_beta(draws[0], draws[1], 0.01)  # a few are rounded to either side of 0
    assert bool(((values >= 0) & (values <= 1)).all())


@pytest.mark.parametrize("mixing", BOTH, ids=lambda each: each.partners)
def test_every_image_has_a_share_of_its_own(mixing: SameClassMixup) -> None:
    """In classes of three images with a pixel each, the mixed image shows its share and its partner, which have nothing to
    do with each other or with those of its neighbours."""
    labels = torch.arange(3000) // 3
    images = torch.eye(3).repeat(1000, 1).view(3000, 1, 1, 3)
    names = tuple(str(i) for i in range(1000))
    source = Known(ClassData(images, labels, names))
    given = batch(source, torch.arange(3000))
    made = replace(mixing, alpha=2.0).before(given, source, noise()).x.view(1000, 3, 3)
    share = made.diagonal(dim1=1, dim2=2)
    assert len(share.unique()) > 2900
    assert stats.kstest(share.flatten().numpy(), stats.beta(2, 2).cdf).pvalue > 1e-3
    apart = torch.corrcoef(share.T)[[0, 0, 1], [1, 2, 2]]
    assert float(apart.abs().max()) < 4 / math.sqrt(1000)
    for own, one, other in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        with_one = made[:, own, one] > made[:, own, other]
        assert float((with_one.float().mean() - 0.5).abs()) < 4 * math.sqrt(0.25 / 1000)
        assert stats.ks_2samp(share[with_one, own].numpy(), share[~with_one, own].numpy()).pvalue > 1e-3
    fixed = replace(mixing, lam=0.3).before(given, source, noise()).x.view(1000, 3, 3)
    assert torch.allclose(fixed.diagonal(dim1=1, dim2=2), torch.tensor(0.3), rtol=0, atol=1e-6)


def test_values_that_make_no_sense_are_refused() -> None:
    for lam in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"lam .* must lie in \[0, 1\]"):
            SameClassMixup(lam=lam)
    for alpha in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"alpha .* must be above 0, or 0 for the fixed share"):
            SameClassMixup(alpha=alpha)
    with pytest.raises(ValueError, match='set partners to "batch", or mix before'):
        SameClassMixup(stage="after")
    late = SameClassMixup(stage="after", partners="batch")
    with pytest.raises(ValueError, match="there are no perturbed images to mix"):
        TrainConfig(objective=Natural(), mixing=late)
    assert TrainConfig(mixing=late).mixing == late
    assert TrainConfig(objective=Natural(), mixing=SameClassMixup()).mixing == SameClassMixup()


def test_the_papers_name_finds_it() -> None:
    assert from_plain(Mixing, "domain-mixup") == SameClassMixup(lam=0.5, alpha=0, partners="class", stage="before")
    assert registry.aliases("mixing", "same-class-mixup") == ["domain-mixup", "mixup"]


@pytest.mark.parametrize("mixing", BOTH, ids=lambda each: each.partners)
def test_it_never_waits_for_the_device(mixing: SameClassMixup, no_waiting: Any) -> None:
    source = training_set(augmentation=CropFlip(padding=1))
    given = everything(source)
    with no_waiting():
        replace(mixing, alpha=0.5).before(given, source, noise())
        late = SameClassMixup(alpha=0.5, partners="batch", stage="after")
        late.after(given, given.x, noise())


def images(per_class: int, seed: int) -> ClassData:
    """Three classes, each with a bright pixel of its own among noise."""
    labels = torch.arange(3 * per_class) % 3
    x = 0.4 * torch.rand(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    x[torch.arange(len(labels)), 0, labels] += 0.6
    return ClassData(x, labels, ("a", "b", "c"))


def trained(out: Path, mixing: Mixing, **changes: Any) -> Run:
    plan = TrainConfig(
        split=Split(at_least=4),
        model=Linear(),
        threat=linf("0.05"),
        mixing=mixing,
        adversary=PGD(steps=2, relative_step=0.5),
        validation_attack=PGD(steps=1),
        epochs=5,
        batch_size=16,
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    data = Dataset("toy", train=images(20, seed=1), test=lambda: images(40, seed=2))
    return train(replace(plan, **changes), out, data=data, progress=Silent())


def weights(run: Run) -> Tensor:
    return run.model("last")[1].weight.detach()


@pytest.mark.parametrize(
    ("objective", "mixing"),
    [
        (Natural(), SameClassMixup(alpha=1.0)),
        (AdversarialTraining(), SameClassMixup()),
        (AdversarialTraining(), SameClassMixup(partners="batch", stage="after")),
        (Trades(beta=2), SameClassMixup(lam=0.7, partners="batch")),
    ],
    ids=["natural", "at", "at-after", "trades"],
)
def test_runs_with_it(objective: Any, mixing: SameClassMixup, tmp_path: Path) -> None:
    """Repeatable, different from a run without, the same as one without at a share of 1; and it learns."""
    changes = {"objective": objective, "policy": Fixed(weight=(1.2, 0.9, 0.9))}
    plain, first, again, whole = (
        trained(tmp_path / str(i), each, **changes)
        for i, each in enumerate((NoMixing(), mixing, mixing, replace(mixing, lam=1.0, alpha=0.0)))
    )
    assert torch.equal(weights(first), weights(again))
    assert not torch.allclose(weights(first), weights(plain), atol=1e-3)
    assert torch.equal(weights(whole), weights(plain))
    losses = [epoch["train"]["loss"] for epoch in first.history]
    assert losses[-1] < losses[0]
    data = images(40, seed=2)
    assert float((first.model()(data.images).argmax(1) == data.labels).float().mean()) > 0.8


def test_the_attack_moves_the_mixed_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a run, what the objective sees is in the ball around the mixed image and in the box."""
    seen: list[tuple[Tensor, Tensor]] = []
    ours: Callable[..., Any] = AdversarialTraining.__call__

    def watched(self: Any, model: Any, x: Tensor, x_adv: Tensor, *rest: Any) -> Any:
        seen.append((x, x_adv))
        return ours(self, model, x, x_adv, *rest)

    monkeypatch.setattr(AdversarialTraining, "__call__", watched)
    for i, mixing in enumerate((SameClassMixup(), SameClassMixup(partners="batch", stage="after"))):
        trained(tmp_path / str(i), mixing, epochs=1)
    assert len(seen) == 6
    for x, x_adv in seen:
        assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1
        assert 0.01 < float((x_adv - x).abs().max()) <= 0.05 + 1e-6
