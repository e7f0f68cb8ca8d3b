"""A small network between two Gaussian classes, natural and adversarial (FRL, ICML 2021, Figure 2 on the right).

The network has one hidden layer of rectified units and a single output, positive for class +1. Its class errors have no
closed form: they come from a simulation, in which each point is attacked by projected gradient descent. An attack that
finds nothing proves nothing, so these robust errors are lower limits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.simulate import Simulated, draw_class, proportion

_AT_ONCE = 1 << 14
"""Points that are attacked at a time: the hidden layer of so many stays small."""


def train_small_net(
    pair: GaussianPair,
    radius: float,
    seed: int,
    *,
    points: int = 2000,
    width: int = 32,
    steps: int = 300,
    learning_rate: float = 1e-2,
    attack_steps: int = 3,
) -> nn.Sequential:
    """Train a network with one hidden layer on points of two Gaussian classes, all of them in every step.

    The loss is the logistic one, minimised by Adam; the points of a step are attacked by :func:`attack` first.

    Args:
        pair: The two classes, one set of parameters (no grid); its prior weights the classes, which get equally many points.
        radius: l_inf radius of training, at least 0; 0 is natural training.
        seed: Seed of the points and of the first weights: the same for every radius.
        points: Points per class, at least 1.
        width: Hidden units, at least 1.
        steps: Steps of training.
        learning_rate: Learning rate of Adam.
        attack_steps: Steps of the attack in training; 10 give the same class errors to 5 digits.

    Returns:
        The network, from float32 (N, D) to (N, 1); its parameters ask for no gradients.

    Raises:
        ValueError: A number is out of range, or the pair is a grid.
    """
    _check_radius(radius)
    for name, value in (("points", points), ("width", width), ("attack_steps", attack_steps)):
        if value < 1:
            raise ValueError(f"{name} {value} is out of range: give at least 1")
    x, y = training_points(pair, points, seed)
    share = float(np.asarray(pair.prior).reshape(()))
    weight = torch.where(y > 0, share, 1 - share) / points
    net = _fresh(x.shape[1], width, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    for _ in range(steps):
        x_adv = attack(net, x, y, radius, attack_steps) if radius > 0 else x
        loss = (weight * nn.functional.softplus(-y * net(x_adv)[:, 0])).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.requires_grad_(False)


def training_points(pair: GaussianPair, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """The points on which :func:`train_small_net` trains.

    Args:
        pair: The two classes.
        points: Points per class.
        seed: Seed of the draws.

    Returns:
        Points (2 points, D), float32, and labels (2 points,), float32, +1 first, then -1.

    Raises:
        ValueError: As :func:`~classwise.theory.simulate.draw_class`.
    """
    generator = np.random.default_rng(seed)
    x = np.concatenate([draw_class(pair, label, points, generator) for label in (1, -1)])
    y = torch.ones(2 * points)
    y[points:] = -1
    return torch.from_numpy(x).float(), y


def attack(net: nn.Module, x: Tensor, y: Tensor, radius: float, steps: int = 10) -> Tensor:
    """Projected gradient descent on ``y f(x)`` in l_inf, from the points themselves: steps of half the radius.

    Args:
        net: From (N, D) to (N, 1).
        x: Points (N, D).
        y: Labels (N,), +1 or -1.
        radius: l_inf radius, at least 0.
        steps: Number of steps.

    Returns:
        Of each point, the perturbed one with the smallest ``y f`` on the way, (N, D).
    """
    best, lowest, x_adv = x, torch.full_like(y, torch.inf), x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        with torch.enable_grad():
            margin = y * net(x_adv)[:, 0]
            (gradient,) = torch.autograd.grad(margin.sum(), x_adv)
        best, lowest = _better(best, lowest, x_adv, margin)
        x_adv = torch.clamp(x_adv - radius / 2 * gradient.sign(), x - radius, x + radius)
    with torch.no_grad():
        return _better(best, lowest, x_adv, y * net(x_adv)[:, 0])[0]


def _better(best: Tensor, lowest: Tensor, x_adv: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    found = margin.detach() < lowest
    return torch.where(found[:, None], x_adv.detach(), best), torch.where(found, margin.detach(), lowest)


def net_errors(
    net: nn.Module, pair: GaussianPair, radius: float, samples: int, seed: int, attack_steps: int = 5
) -> tuple[Simulated, Simulated]:
    """Class errors of a network on fresh points, each attacked by :func:`attack`.

    Args:
        net: From float32 (N, D) to (N, 1), positive for class +1.
        pair: The two classes, one set of parameters (no grid).
        radius: l_inf radius of the test, at least 0; 0 gives the natural errors.
        samples: Points drawn per class, at least 1.
        seed: Seed of the draws.
        attack_steps: Steps of the attack.

    Returns:
        Errors of class +1 and of class -1; the intervals know of the draws only, not of what a stronger attack would find.

    Raises:
        ValueError: A number is out of range, or the pair is a grid.
    """
    _check_radius(radius)
    generators = np.random.default_rng(seed).spawn(2)
    plus, minus = (
        _class_error(net, pair, label, radius, samples, generator, attack_steps)
        for label, generator in zip((1, -1), generators, strict=True)
    )
    return plus, minus


def _class_error(
    net: nn.Module,
    pair: GaussianPair,
    label: int,
    radius: float,
    samples: int,
    generator: np.random.Generator,
    attack_steps: int,
) -> Simulated:
    wrong = []
    for start in range(0, samples, _AT_ONCE):
        x = torch.from_numpy(draw_class(pair, label, min(_AT_ONCE, samples - start), generator)).float()
        y = torch.full((len(x),), float(label))
        x_adv = attack(net, x, y, radius, attack_steps) if radius > 0 else x
        with torch.no_grad():
            wrong.append((y * net(x_adv)[:, 0] <= 0).numpy())
    return proportion(np.concatenate([np.empty(0, dtype=np.bool_), *wrong]))


def _fresh(features: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """A network with PyTorch's usual first weights, drawn from a generator of its own."""
    # On the meta device, so that nothing is drawn from the program's own generator.
    layers = [nn.Linear(features, width, device="meta"), nn.Linear(width, 1, device="meta")]
    for layer in layers:
        layer.to_empty(device="cpu")
        limit = layer.in_features**-0.5
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -limit, limit, generator=generator)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def _check_radius(radius: float) -> None:
    if not 0 <= radius < np.inf:
        raise ValueError(f"radius {radius:g} is out of range: it is finite and at least 0")
