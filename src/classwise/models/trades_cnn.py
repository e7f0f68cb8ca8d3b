"""The network of TRADES for handwritten digits."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "trades-cnn")
@config
class TradesCNN(ModelBuilder):
    """Four 3x3 convolutions without padding, a pooling after two and after four, two hidden layers of 200 units, head.

    In training half of the first hidden layer's units are dropped. Convolutions start from He's normal distribution, the
    head from 0, so that a fresh network answers every image alike.

    Source: Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019, for MNIST;
    code yaodongyu/TRADES 9ee26f4, ``models/small_cnn.py``.
    """

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: Images are so small that the convolutions leave nothing of them.
        """
        channels, height, width = shape
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
        if min(rows, columns) < 1:
            raise ValueError(f"images of {height}x{width} pixels are too small: use 16 pixels or more, or small-cnn")
        head = nn.Linear(200, classes)
        network = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 32, 3),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 32, 3),
                relu2=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv3=nn.Conv2d(32, 64, 3),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(64, 64, 3),
                relu4=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flat=nn.Flatten(),
                hidden1=nn.Linear(64 * rows * columns, 200),
                relu5=nn.ReLU(),
                drop=nn.Dropout(0.5),
                hidden2=nn.Linear(200, 200),
                relu6=nn.ReLU(),
                head=head,
            )
        )
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return network
