"""The one type in which every metric answers: a value with its interval."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A measured fraction, or difference or ratio of fractions, with its interval.

    Attributes:
        value: The point estimate, a fraction; nan when no sample was measured. Differences may be
            negative, ratios exceed 1.
        low: Lower limit, in the same unit.
        high: Upper limit, in the same unit.
        method: How the interval was made, in words.
        n: Number of samples behind the value.
    """

    value: float
    low: float
    high: float
    method: str
    n: int

    def __str__(self) -> str:
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        value, low, high = (round(100.0 * part, 1) + 0.0 for part in (self.value, self.low, self.high))
        return f"{value:.1f} % [{low:.1f}, {high:.1f}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON; a nan value becomes None."""
        return asdict(self) | {"value": None if math.isnan(self.value) else self.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Estimate":
        """Inverse of `to_dict`.

        Raises:
            ValueError: If a key is missing or unknown.
        """
        expected = {"value", "low", "high", "method", "n"}
        if set(data) != expected:
            raise ValueError(
                f"an estimate has the keys {sorted(expected)}, got {sorted(data)}; add or remove the rest."
            )
        value = math.nan if data["value"] is None else float(data["value"])
        return cls(value, float(data["low"]), float(data["high"]), str(data["method"]), int(data["n"]))
