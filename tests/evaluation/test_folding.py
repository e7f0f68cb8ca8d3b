"""BatchNorm folded into convolutions: the same function, fewer layers, and the original as it was."""

from collections.abc import Callable
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import classwise as cw
from classwise.models import fast_copy as fast_copies
from classwise.models.fast_copy import LowPrecision, fast_copy
from classwise.models.folding import BATCH_NORMS, folded, same_function


class Functional(nn.Module):
    """Layers called from code, with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm_one, self.norm_two = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_one(self.first(x)))
        return F.relu(self.norm_two(self.second(x)) + x)


class Preactivation(nn.Module):
    """BatchNorm before its convolution, which cannot be folded into the one before: that one is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.conv = (
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.conv(F.relu(self.norm(x)))


class SharedConvolution(nn.Module):
    """One convolution, two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.conv(F.relu(self.one(self.conv(x)))))


class SharedNorm(nn.Module):
    """One norm after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.one(x)) + self.norm(self.two(x))


class ByTwoNames(nn.Module):
    """One convolution under two names, one of which has a norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.other = self.one

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.one(x)) + self.other(x)


class TiedWeight(nn.Module):
    """A convolution whose weight is used a second time, without the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + F.conv2d(x, self.conv.weight, padding=1)


class ByKeyword(nn.Module):
    """A norm whose input is given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=self.conv(x))


class Untraceable(nn.Module):
    """Control flow that depends on the images, around parts that can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.other = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if float(x.detach().mean()) > 0.45 else self.other(x)


class SharedByParts(Untraceable):
    """The same, and both parts have one convolution in common."""

    def __init__(self) -> None:
        super().__init__()
        self.other[0] = self.body[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.other(x) if len(x) > 1 else self.other(x)


class Standardised(nn.Conv2d):
    """Weights are standardised at every call."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5), self.bias, padding=self.padding)


def sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


CASES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "conv-bn": (sequence(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), 0),
    "with bias, groups, stride": (sequence(nn.Conv2d(2, 4, 3, 2, 1, groups=2), nn.BatchNorm2d(4)), 0),
    "without affine": (sequence(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False)), 0),
    "bn-conv": (sequence(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.ReLU()), 1),
    "conv-relu-bn": (sequence(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 1),
    "two norms in a row": (sequence(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), 0),
    "of the batch": (sequence(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 1),
    "linear-bn": (sequence(nn.Flatten(), nn.Linear(128, 4), nn.BatchNorm1d(4)), 1),
    "transposed": (sequence(nn.ConvTranspose2d(2, 4, 3), nn.BatchNorm2d(4)), 1),
    "functional": (Functional, 0),
    "pre-activation": (Preactivation, 1),
    "shared convolution": (SharedConvolution, 2),
    "shared norm": (SharedNorm, 1),
    "two names": (ByTwoNames, 1),
    "untraceable": (Untraceable, 0),
    "shared by parts": (SharedByParts, 0),
    "standardised weights": (sequence(Standardised(2, 4, 3, padding=1), nn.BatchNorm2d(4)), 1),
    "normalized": (lambda: cw.Normalized(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), (0.4, 0.5), (0.2, 0.3)), 0),
    "normalized inside": (
        lambda: nn.Sequential(
            nn.Identity(), cw.Normalized(Functional(), (0.4, 0.5), (0.2, 0.3)), nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3)
        ),
        1,  # beside a part that cannot be traced, what is not in a part of its own is left
    ),
    "no norm": (sequence(nn.Conv2d(2, 4, 3), nn.ReLU()), 0),
}  # fmt: skip
UNSOLVED = {"tied weight": TiedWeight, "keyword": ByKeyword}


def with_statistics(module: nn.Module) -> nn.Module:
    """Every BatchNorm gets statistics and weights as if it had been trained."""
    generator = torch.Generator().manual_seed(5)
    for norm in module.modules():
        if isinstance(norm, BATCH_NORMS):
            if norm.running_mean is not None:
                norm.running_mean.normal_(generator=generator)
                norm.running_var.uniform_(0.2, 3, generator=generator)
            if norm.weight is not None:
                with torch.no_grad():
                    norm.weight.normal_(generator=generator)
                    norm.bias.normal_(generator=generator)
    return module


def norms(module: nn.Module) -> int:
    return sum(isinstance(each, BATCH_NORMS) for each in module.modules())


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("name", CASES)
def test_the_folded_network_is_the_same_function(name: str, images: Tensor) -> None:
    make, left = CASES[name]
    torch.manual_seed(7)
    model = with_statistics(make()).eval()
    copy = folded(model)
    for x in (images, 0.2 * images, images[:1]):
        x = x.requires_grad_()
        expected, found = model(x), copy(x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        gradients = [torch.autograd.grad(each.square().sum(), x)[0] for each in (expected, found)]
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)
        x.requires_grad_(False)
    assert norms(copy) == left
    assert not any(each.requires_grad for each in copy.parameters())


@pytest.mark.parametrize("name", CASES)
def test_the_original_is_not_changed(name: str, images: Tensor) -> None:
    torch.manual_seed(7)
    model = with_statistics(CASES[name][0]())
    model.train()
    model.requires_grad_(True)
    modules = {key: (id(each), each.training) for key, each in model.named_modules()}
    before = {key: (id(value), value.clone()) for key, value in model.state_dict(keep_vars=True).items()}
    copy = folded(model)
    assert {key: (id(each), each.training) for key, each in model.named_modules()} == modules
    for key, value in model.state_dict(keep_vars=True).items():
        assert id(value) == before[key][0]
        assert torch.equal(value, before[key][1])
    assert all(each.requires_grad for each in model.parameters())
    with torch.no_grad():
        for value in chain(copy.parameters(), copy.buffers()):
            if value.dtype.is_floating_point:
                value.fill_(7)
    assert all(torch.equal(value, before[key][1]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "builder", [cw.models.PreActResNet18(), cw.models.ResNetCIFAR()], ids=lambda b: type(b).__name__
)
def test_the_networks_at_hand_are_folded(builder: object) -> None:
    torch.manual_seed(1)
    model = with_statistics(builder.build(10, (3, 32, 32))).eval()  # type: ignore[attr-defined]
    for norm in model.modules():
        if isinstance(norm, BATCH_NORMS):
            norm.weight.data.abs_().clamp_(0.3, 1)  # large weights of both signs would make logits explode
            norm.running_var.clamp_(min=1)
    copy = folded(model)
    assert norms(copy) < norms(model) / 1.5
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert same_function(model, copy, x, 1e-4)


@pytest.mark.parametrize("name", UNSOLVED)
def test_what_folding_gets_wrong_is_not_searched_on(name: str, images: Tensor) -> None:
    """Every copy has to prove itself on a few images; where it fails the model itself is searched."""
    model = with_statistics(nn.Sequential(UNSOLVED[name](), nn.Flatten())).eval()
    for bf16 in (False, True):
        search, words = fast_copy(model, images, bf16)
        torch.testing.assert_close(search(images), model(images), rtol=0.05, atol=0.2)
        if search is model:
            assert words == "the model itself"


def test_a_wrong_copy_is_noticed(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_statistics(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten())).eval()

    def off(network: nn.Module) -> nn.Module:
        copy = folded(network)
        with torch.no_grad():
            next(copy.parameters()).mul_(1.5)
        return copy

    monkeypatch.setattr(fast_copies, "folded", off)
    search, words = fast_copy(model, images, bf16=False)
    assert search is model
    assert words == "the model itself"
    search, _ = fast_copy(model, images, bf16=True)  # of the model as it is
    assert isinstance(search, LowPrecision)
    assert same_function(model, search, images, 0.05)
    assert not same_function(model, off(model), images, 0.05)

    class Off(LowPrecision):
        def forward(self, x: Tensor) -> Tensor:
            return 1.1 * super().forward(x)

    monkeypatch.setattr(fast_copies, "LowPrecision", Off)
    search, words = fast_copy(model, images, bf16=True)
    assert search is model
    assert words == "the model itself"


def test_same_function_is_not_deceived_by_what_all_logits_share(images: Tensor) -> None:
    """A thousand in every logit would hide any difference between classes."""

    class Shared(nn.Module):
        def __init__(self, factor: float, common: float) -> None:
            super().__init__()
            self.factor, self.common = factor, common

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x.flatten(1) + self.common

    assert not same_function(Shared(1.0, 1000.0), Shared(1.1, 1000.0), images, 0.05)
    assert same_function(Shared(1.0, 0.0), Shared(1.0, 1000.0), images, 1e-3)  # no attack sees the difference


def test_same_function_measures_against_the_largest_answer(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten())
    for factor, same in ((1 + 5e-5, True), (1 + 2e-4, False)):
        scaled = nn.Sequential(nn.Flatten(), Times(factor))
        assert same_function(model, scaled, images, 1e-4) is same


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_the_bf16_copy_computes_in_bf16_and_answers_in_fp32(images: Tensor, network: nn.Module) -> None:
    low = LowPrecision(folded(network), torch.rand(4, 1, 8, 8))
    assert {each.dtype for each in low.parameters()} == {torch.bfloat16}
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    answer = low(x)
    assert answer.dtype == torch.float32
    (gradient,) = torch.autograd.grad(answer.sum(), x)
    assert gradient.dtype == torch.float32
    weight = next(each for each in low.parameters() if each.dim() == 4 and each.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network(x)
        assert 0 < float((low(x) - exact).abs().max()) < 0.05 * float(exact.abs().max())
    assert {each.dtype for each in network.parameters()} == {torch.float32}
