"""Several policies at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from classwise.configuration import config
from classwise.objectives.base import Objective
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.registry import register


@register("policy", "combined")
@config
class Combined(ClassPolicy):
    """The multipliers of its members, multiplied knob by knob; each member keeps a state of its own.

    Two members that reduce the loss in different ways are refused.

    Source: CFA is calibrated radius and regularisation (sections 4.1, 4.2); FRL (Reweight+Remargin) is constraint
    reweight and constraint remargin (section 4.3); other combinations are ours.
    Departures: none.
    Observes: what its members observe, each statistic once.
    Costs: what its members cost.
    """

    members: tuple[ClassPolicy, ...]
    """The policies, in any order."""

    def check(self) -> None:
        """Refuse an empty list and two different reducers."""
        if not self.members:
            raise ValueError("a combined policy needs members")
        single = [each.registered_name for each in self.members if each.single]
        if len(set(single)) < len(single):
            raise ValueError(f"policy {single[0]!r} is in the combination twice, where it makes sense once: keep one")
        reducers = {reducer: each.registered_name for each in self.members if (reducer := each.reduction())}
        if len(reducers) > 1:
            (one, first), (other, second) = list(reducers.items())[:2]
            raise ValueError(
                f"policies {first!r} and {second!r} reduce the loss in different ways ({one}, {other}): use one of them"
            )

    def observes(self) -> frozenset[str]:
        """See :class:`ClassPolicy`."""
        return frozenset().union(*(member.observes() for member in self.members))

    def steered(self) -> frozenset[str]:
        """See :class:`ClassPolicy`."""
        return frozenset().union(*(member.steered() for member in self.members))

    def wants_labels(self) -> bool:
        """See :class:`ClassPolicy`."""
        return any(member.wants_labels() for member in self.members)

    def refusal(self, objective: Objective) -> str:
        """See :class:`ClassPolicy`."""
        return next((reason for member in self.members if (reason := member.refusal(objective))), "")

    def looks_first(self) -> bool:
        """See :class:`ClassPolicy`."""
        return any(member.looks_first() for member in self.members)

    def reduction(self) -> str | None:
        """See :class:`ClassPolicy`."""
        return next((reducer for member in self.members if (reducer := member.reduction())), None)

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return self._join([member.init(groups) for member in self.members])

    def on_start(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        return self._each(state, lambda member, own: member.on_start(own, stats))

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        return self._each(state, lambda member, own: member.on_epoch(own, stats))

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        """See :class:`ClassPolicy`."""
        product, states = None, []
        for i, member in enumerate(self.members):
            weights, own = member.on_batch(self._own(state, i), stats)
            states.append(own)
            if weights is not None:
                product = weights if product is None else product * weights
        return product, self._join(states)

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        product: dict[str, Tensor] = {}
        for i, member in enumerate(self.members):
            for name, values in member.knobs(self._own(state, i)).items():
                product[name] = product[name] * values if name in product else values
        return product

    def notes(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        return self._join([member.notes(self._own(state, i)) for i, member in enumerate(self.members)])

    def finished(self, state: State) -> bool:
        """See :class:`ClassPolicy`: one member that has reached what it is for is enough."""
        return any(member.finished(self._own(state, i)) for i, member in enumerate(self.members))

    def _own(self, state: State, i: int) -> State:
        prefix = f"{i}."
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

    def _join(self, states: list[State]) -> State:
        return {f"{i}.{key}": value for i, state in enumerate(states) for key, value in state.items()}

    def _each(self, state: State, change: Callable[[ClassPolicy, State], State]) -> State:
        return self._join([change(member, self._own(state, i)) for i, member in enumerate(self.members)])
