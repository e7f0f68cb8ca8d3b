"""Plain convolutional networks: layers and counts."""

import pytest
import torch
from torch import nn

from classwise import registry
from classwise.models import CNN3, CNN4, ModelBuilder, TradesCNN
from classwise.models.facts import count_parameters


@pytest.mark.parametrize(("builder", "layers"), [(CNN3(width=5), 3), (CNN4(width=2), 4)])
def test_as_many_convolutions_as_the_name_says(builder: ModelBuilder, layers: int) -> None:
    model = builder.build(17, (3, 33, 48))
    assert sum(isinstance(each, nn.Conv2d) for each in model.modules()) == layers
    widths = [builder.width * 2**i for i in range(layers)]
    count, entering = 0, 3
    for width in widths:
        count += 9 * entering * width + width
        entering = width
    features = entering * (33 // 2**layers) * (48 // 2**layers)
    assert sum(each.numel() for each in model.parameters()) == count + features * 17 + 17


def test_that_of_trades_has_its_published_layers() -> None:
    """312,202 parameters on MNIST: 320 + 9,248 + 18,496 + 36,928 + 205,000 + 40,200 + 2,010."""
    assert count_parameters(TradesCNN(), 10, (1, 28, 28)) == 312_202
    torch.manual_seed(0)
    model = TradesCNN().build(10, (1, 28, 28))
    assert [name for name, each in model.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)] == [
        *("conv1", "conv2", "conv3", "conv4"),
        *("hidden1", "hidden2", "head"),
    ]
    assert model.hidden1.in_features == 64 * 4 * 4
    assert not model(torch.rand(2, 1, 28, 28)).any()  # the head starts from 0
    assert float(model.conv4.weight.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    nn.init.ones_(model.head.weight)
    x = torch.rand(2, 1, 28, 28)
    assert not torch.equal(model.train()(x), model(x))  # units are dropped
    assert torch.equal(model.eval()(x), model(x))


def test_names_find_them() -> None:
    assert registry.get("model", "cnn3") is CNN3
    assert registry.get("model", "cnn4") is CNN4
    assert registry.get("model", "trades-cnn") is TradesCNN
