"""BatchNorm in eval mode folded into the convolution before it: the same function with fewer passes over memory."""

from __future__ import annotations

import copy
import operator

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
RELUS = (torch.relu, torch.nn.functional.relu)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(model: nn.Module) -> nn.Module:
    """A copy of a network for inference, with every BatchNorm folded whose only input is a convolution used once.

    What cannot be traced (control flow that depends on data, custom calls) is left as it is; its parts are tried one by
    one.

    Args:
        model: In eval mode; it is not changed.

    Returns:
        A copy without gradients of weights, equal up to rounding.
    """
    network = copy.deepcopy(model).eval().requires_grad_(False)
    return _folded(network)


def _folded(module: nn.Module) -> nn.Module:
    if not any(isinstance(part, BATCH_NORMS) for part in module.modules()):
        return module
    try:
        traced = fx.symbolic_trace(module)
    except Exception:  # tracing runs a stranger's forward on stand-ins: anything may be raised
        for name, child in module.named_children():
            setattr(module, name, _folded(child))
        return module
    return _fold(traced)


def _fold(traced: fx.GraphModule) -> fx.GraphModule:
    parts = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm = parts.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, BATCH_NORMS) or not norm.track_running_stats:
            continue
        before = node.args[0]
        conv = parts.get(str(before.target)) if isinstance(before, fx.Node) and before.op == "call_module" else None
        if not isinstance(conv, CONVOLUTIONS) or len(before.users) > 1 or _shared(traced, node, before):
            continue
        parent, _, name = str(before.target).rpartition(".")
        fused = fuse_conv_bn_eval(conv, norm).requires_grad_(False)
        setattr(traced.get_submodule(parent), name, fused)
        parts[str(before.target)] = fused
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    _relu_in_place(traced, parts)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _relu_in_place(traced: fx.GraphModule, parts: dict[str, nn.Module]) -> None:
    """Let a ReLU overwrite its input where that is the fresh output of a convolution or a sum that nobody else reads."""
    for node in traced.graph.nodes:
        if not node.args or not isinstance(node.args[0], fx.Node):
            continue
        source = node.args[0]
        is_conv = source.op == "call_module" and isinstance(parts.get(str(source.target)), CONVOLUTIONS)
        is_sum = source.op == "call_function" and source.target is operator.add
        if len(source.users) > 1 or not (is_conv or is_sum):
            continue
        if node.op == "call_module" and isinstance(parts.get(str(node.target)), nn.ReLU):
            with traced.graph.inserting_before(node):
                node.replace_all_uses_with(traced.graph.call_function(torch.relu_, (source,)))
            traced.graph.erase_node(node)
        elif (node.op == "call_function" and node.target in RELUS) or (node.op, node.target) == ("call_method", "relu"):
            node.op, node.target, node.args, node.kwargs = "call_function", torch.relu_, (source,), {}


def _shared(traced: fx.GraphModule, *nodes: fx.Node) -> bool:
    """Whether a layer is called in several places, so that changing it for one would change the others."""
    calls = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    return any(calls.count(node.target) > 1 for node in nodes)


def same_function(one: nn.Module, other: nn.Module, x: torch.Tensor, tolerance: float) -> bool:
    """Whether two networks answer alike on some images: differences between classes, relative to the largest of them."""
    with torch.no_grad():
        first, second = (net(x).float() for net in (one, other))
        first, second = (logits - logits.mean(1, keepdim=True) for logits in (first, second))
    scale = first.abs().amax().clamp_min(1e-30)
    return bool(((first - second).abs().amax() <= tolerance * scale).item())
