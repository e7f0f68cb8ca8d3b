"""Convolution, sum and ReLU in one CPU kernel, for forward passes that need no gradient."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

Node = fx.Node


class WithFusedForward(nn.Module):
    """A network that computes differently, but the same, when no gradient is asked for.

    Args:
        network: Used where gradients are needed.
        fused: Used everywhere else.
    """

    def __init__(self, network: nn.Module, fused: nn.Module) -> None:
        super().__init__()
        self.network, self.fused = network, fused
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) for images (N, …)."""
        answer: Tensor = self.network(x) if torch.is_grad_enabled() else self.fused(x)
        return answer


def fused(network: nn.Module, x: Tensor) -> nn.Module | None:
    """A copy whose convolutions take the ReLU, and the sum before it, into their own kernel; None if there is no such.

    Uses the kernels that torch's own compiler emits for CPUs.

    Args:
        network: A traced network, BatchNorm folded, on the CPU.
        x: Images (N, C, H, W) such as it will be given.
    """
    if x.device.type != "cpu" or not isinstance(network, fx.GraphModule):
        return None
    made = copy.deepcopy(network)
    with torch.no_grad():
        ShapeProp(made).propagate(x)
    changed = [_fuse(made, node) for node in list(made.graph.nodes)]
    if not any(changed):
        return None
    made.graph.eliminate_dead_code()
    made.recompile()
    return made


def _fuse(network: fx.GraphModule, relu: Node) -> bool:
    """Replace what ends in a ReLU by one kernel, where that is a convolution or the sum of one and something else."""
    if relu.op != "call_function" or relu.target is not torch.relu_ or not isinstance(relu.args[0], Node):
        return False
    source = relu.args[0]
    other: Node | None = None
    if source.target is operator.add and len(source.users) == 1:
        pair = [each for each in source.args if isinstance(each, Node)]
        convs = [each for each in pair if _is_conv(network, each)]
        if len(pair) != 2 or not convs or _shape(pair[0]) != _shape(pair[1]):
            return False
        # The later one, so that whatever the other needs is computed before.
        conv = convs[-1]
        other = pair[0] if conv is pair[1] else pair[1]
    elif _is_conv(network, source):
        conv = source
    else:
        return False
    layer: Any = network.get_submodule(str(conv.target))
    (given,) = conv.args
    assert isinstance(given, Node)
    name = f"packed_{str(conv.target).replace('.', '_')}"
    sizes = [list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups]
    packed = torch.ops.mkldnn._reorder_convolution_weight(layer.weight.detach(), *sizes, list(_shape(given)))
    network.register_buffer(name, packed, persistent=False)
    bias = f"{name}_bias"
    network.register_buffer(bias, layer.bias.detach() if layer.bias is not None else None, persistent=False)
    with network.graph.inserting_before(relu):
        weights = (
            network.graph.get_attr(name),
            network.graph.get_attr(bias) if layer.bias is not None else None,
            *sizes,
        )
        kernel = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            made = network.graph.call_function(kernel.default, (given, *weights, "relu", [], ""))
        else:
            made = network.graph.call_function(kernel.binary, (given, other, *weights, "add", 1.0, "relu", [], ""))
    made.meta = dict(relu.meta)
    relu.replace_all_uses_with(made)
    network.graph.erase_node(relu)
    return True


def _is_conv(network: fx.GraphModule, node: Node) -> bool:
    """Whether a node is an ordinary 2-D convolution of one input that nobody else reads."""
    if node.op != "call_module" or len(node.users) != 1 or len(node.args) != 1:
        return False
    layer = network.get_submodule(str(node.target))
    plain = isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"
    return plain and not isinstance(layer.padding, str)


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)
