"""How numbers are written for people: an SI prefix for a whole column, three or four significant digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# For each unit of the store, what people read it in: the size from which on it is used, and its name.
_PREFIXES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
    "J": ((1e3, "kJ"), (1, "J"), (1e-3, "mJ")),
    "g": ((1e3, "kg"), (1, "g"), (1e-3, "mg")),
    "1": ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"), (1, "count")),
}


@dataclass(frozen=True)
class Scale:
    """A column's values are shown as `value * factor` in `unit`."""

    factor: float
    unit: str

    def text(self, value: float) -> str:
        """The value without its unit: 3 significant digits, 4 for percentages, which crowd near 100."""
        return number(value * self.factor, digits=4 if self.unit == "%" else 3)

    def around(self, value: float, low: float, high: float) -> str:
        """The value with the larger side of its interval, "12.3 ±0.2"; the value alone where it is exact or unknown."""
        text = self.text(value)
        if not math.isfinite(high - low) or high == low:
            return text
        side = max(value - low, high - value) * self.factor
        # as exact as the value it stands beside, unless that would read as zero
        beside = f"{side:,.{len(text.partition('.')[2])}f}"
        return f"{text} ±{beside if beside.strip('0.,') else number(side, digits=1)}"


def scale(unit: str, values: Sequence[float], *, share: bool = False) -> Scale:
    """The scale in which the middle one of the values is from 1 to 999; `share` for a share of 1, shown in percent."""
    if share and unit == "1":
        return Scale(100.0, "%")
    sizes = np.abs([value for value in values if math.isfinite(value) and value != 0])
    middle = float(np.median(sizes)) if sizes.size else 1.0
    prefixes = _PREFIXES.get(unit, ((1.0, unit),))
    size, name = next((p for p in prefixes if middle >= p[0]), prefixes[-1])
    return Scale(1 / size, name)


def number(value: float, digits: int = 3) -> str:
    """So many significant digits, without exponent where that stays short: 0.0123, 1.23, 123, 12,346."""
    if not math.isfinite(value):
        return "unknown"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if magnitude < -4 or magnitude > 8:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}"
