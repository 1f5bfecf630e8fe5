"""Numbers as people write them: "20ms", "4GB", "25M", "80%"."""

from __future__ import annotations

import math
import re

from paretovit.errors import UserError

_COUNTS = {"k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "%": 1e-2}
# For each unit of the store what may stand behind a number, and how much of that unit it is.
_SUFFIXES: dict[str, dict[str, float]] = {
    "s": {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
    "B": {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "MiB": 2.0**20, "GiB": 2.0**30},
    "J": {"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6},
    "g": {"mg": 1e-3, "g": 1.0, "kg": 1e3},
    "1/s": {"/s": 1.0, "img/s": 1.0, **{k: v for k, v in _COUNTS.items() if k != "%"}},
    "1": _COUNTS,
}
_QUANTITY = re.compile(r"(?P<number>[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?)\s*(?P<suffix>\D.*)?", re.IGNORECASE)


def quantity(text: str, unit: str) -> float:
    """The number in the store's unit: "20ms" of a time is 0.02, and so is "0.02".

    Raises `UserError` for what is no number, and for a suffix that does not measure what the unit does.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is not a number; write it like {_example(unit)}")
    suffix = (match["suffix"] or "").strip()
    factors = _SUFFIXES.get(unit, {unit: 1.0})
    if suffix and suffix not in factors:
        raise UserError(f"{text!r} has the unit {suffix!r}; here it may be {', '.join(factors)}, or none for {unit}")
    value = float(match["number"].replace("_", "")) * (factors[suffix] if suffix else 1.0)
    if not math.isfinite(value):
        raise UserError(f"{text!r} is not a finite number; write it like {_example(unit)}")
    return value


def _example(unit: str) -> str:
    return {"s": "20ms", "B": "4GB", "J": "5J", "g": "2kg", "1/s": "3000", "1": "25M, 0.8 or 80%"}.get(unit, "1.5")
