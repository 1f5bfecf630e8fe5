"""What costs rest on that only the user knows, such as a price. It is stated, and part of a row's conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paretovit.errors import Unmeasurable, UserError, unknown
from paretovit.measurement import Conditions

ASSUMPTIONS = {
    "watts": "power that the machine draws while it works (W), where no meter can be read",
    "g_per_kwh": "carbon dioxide of the grid's electricity (g/kWh)",
    "usd_per_hour": "price of the machine (USD/h)",
    "memory_gb": "memory that a batch may fill (GB); by default all that the machine has",
}


def pairs(texts: Sequence[str]) -> dict[str, float]:
    """What "name=value" says, one or several times. Raises `UserError` for what is not of that form."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f"cannot read {text!r} as an assumption; write NAME=NUMBER, such as watts=30") from None
    return dict(checked(found))


def checked(stated: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """The same as sorted pairs. Raises `UserError` for unknown names and for what is not above zero."""
    for name, value in stated.items():
        if name not in ASSUMPTIONS:
            raise unknown("assumption", name, ASSUMPTIONS)
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} must be above zero, got {value:g}: {ASSUMPTIONS[name]}")
    return tuple(sorted((name, float(value)) for name, value in stated.items()))


def stated(conditions: Conditions, name: str) -> float:
    """The value that was stated. Raises `Unmeasurable`, saying what to type, where none was."""
    for known, value in conditions.assumptions:
        if known == name:
            return float(value)
    raise Unmeasurable(f"it takes the {ASSUMPTIONS[name]}, which nobody stated; give --assume {name}=NUMBER")
