"""Joules that the steps of a run take, off a meter that the caller brings: how to read one is the cost package's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Meter(Protocol):
    """`source` says what is read and what it covers; of `joules`, a reading, differences count."""

    source: str

    def joules(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Energy:
    """What tells the energy of a run; without a meter there is `why`. `stated` is what the user states, such as the
    power in watts. With several processes nothing is told: what their meters cover may be the same or not."""

    meter: Meter | None
    stated: tuple[tuple[str, float], ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        """Of the meter with what was stated; "" for none."""
        told = [f"{name}={value:g}" for name, value in self.stated]
        return "" if self.meter is None else ", ".join([self.meter.source, *told])
