"""A network made by a function of an installed package or of a file of one's own, named by its import path."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.normalized import Normalized
from classwise.registry import did_you_mean, register


@register("model", "import")
@config
class Imported(ModelBuilder):
    """What ``package.module:callable`` returns. The module's code is run, with the rights of this process.

    The callable gets the arguments written in the path and nothing else: neither the number of classes nor the shape
    of the images is passed on, so give them there where they matter. The network must answer with logits.
    """

    path: str
    """Where the callable is, such as ``mypkg.nets:make_net`` or, with plain values as arguments,
    ``mypkg.nets:WideResNet(depth=28, num_classes=10)``. Its module's code is run."""
    mean: tuple[float, ...] = ()
    """Mean that the network wants subtracted from images in [0, 1], one per channel; none: it takes them as they are."""
    std: tuple[float, ...] = ()
    """Standard deviation it then wants them divided by, one per channel."""

    def check(self) -> None:
        """Refuse paths of another form, and a mean without a standard deviation."""
        parse(self.path)
        if bool(self.mean) != bool(self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} belong together: give both or neither")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`; both arguments are unused.

        Raises:
            ValueError: The module or its callable is not there, fails, or makes no network.
        """
        module, name, words, values = parse(self.path)
        make = find(module, name)
        try:
            net = make(*words, **values)
        except Exception as error:  # their code: anything
            raise ValueError(
                f"{self.path!r} failed when it was called: {type(error).__name__}: {error}; "
                "arguments are written as package.module:callable(depth=28)"
            ) from error
        if not isinstance(net, nn.Module):
            raise ValueError(
                f"{self.path!r} returned a {type(net).__name__} and no torch module: name what makes the network"
            )
        return Normalized(net, self.mean, self.std) if self.mean else net


def parse(path: str) -> tuple[str, str, tuple[Any, ...], dict[str, Any]]:
    """Take ``package.module:callable(1, depth=28)`` apart, evaluating nothing but literals.

    Returns:
        Module, name within it, positional and named arguments.

    Raises:
        ValueError: It has another form.
    """
    module, colon, call = path.partition(":")
    name, bracket, _ = call.partition("(")
    dotted = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in dotted):
        raise ValueError(f"path {path!r} names no callable of a module: write package.module:callable")
    if not bracket:
        return module, name, (), {}
    try:
        node = ast.parse(call, mode="eval").body
        if (
            not isinstance(node, ast.Call)
            or ast.unparse(node.func) != name
            or any(not each.arg for each in node.keywords)
        ):
            raise ValueError(call)
        words = tuple(ast.literal_eval(each) for each in node.args)
        return module, name, words, {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"the arguments in path {path!r} are no plain values: write package.module:callable(depth=28, norm='batch')"
        ) from error


def find(module: str, name: str) -> Callable[..., Any]:
    """Import a module, which runs its code, and look a callable up in it.

    Args:
        module: Dotted name.
        name: Of something in it, dotted for something inside a class.

    Raises:
        ValueError: The module is not found or fails, or has no such callable.
    """
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # their code: anything
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"there is no module {error.name!r}: install its package, or name its folder in PYTHONPATH"
            ) from error
        raise ValueError(
            f"the module {module!r} failed while being imported: {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            known = [each for each in dir(found) if not each.startswith("_") and callable(getattr(found, each, None))]
            raise ValueError(f"{module!r} has no {name!r}{did_you_mean(part, known)}")
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        raise ValueError(f"{module}:{name} is a network already: name the class or function that makes it")
    if not callable(found):
        raise ValueError(
            f"{module}:{name} is a {type(found).__name__}, which cannot be called: name a class or function"
        )
    return found  # type: ignore[no-any-return]
