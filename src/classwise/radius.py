"""A perturbation radius that remembers how it was written."""

from __future__ import annotations

import math


class Radius(float):
    """A non-negative number that may be written as a fraction of the pixel range, such as ``8/255``.

    It is a plain ``float`` in arithmetic; ``str()`` gives back the text it was written with, so that
    configuration files and tables say ``8/255`` and not ``0.03137254901960784``.

    Args:
        value: A number, or text: ``"8/255"``, ``"0.5"``.

    Raises:
        ValueError: The text is no number, or the number is negative, infinite or not a number.
    """

    text: str

    def __new__(cls, value: float | str) -> Radius:
        """See the class."""
        if isinstance(value, Radius):
            return value
        text = str(value).strip()
        top, slash, bottom = text.partition("/")
        try:
            number = float(top) / float(bottom) if slash else float(top)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"radius {text!r} is not a number: write it like 8/255 or 0.5") from None
        if not math.isfinite(number) or number < 0:
            raise ValueError(f"radius {text!r} must be a finite number of at least 0: write it like 8/255 or 0.5")
        made = super().__new__(cls, number)
        made.text = text if isinstance(value, str) else f"{number:g}" if float(f"{number:g}") == number else text
        return made

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Radius({self.text!r})"

    def __reduce__(self) -> tuple[type[Radius], tuple[str]]:
        return (Radius, (self.text,))
