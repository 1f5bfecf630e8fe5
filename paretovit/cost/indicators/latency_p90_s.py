"""Seconds within which 90 of 100 single images are done."""

from __future__ import annotations

from collections.abc import Sequence

from paretovit.cost.indicators import Derived
from paretovit.errors import Unmeasurable

_ENOUGH = 20  # samples for two of them to lie beyond the quantile


class LatencyP90S(Derived):
    """The 90th percentile of the latency samples; nothing where there are too few samples to tell it."""

    title = "latency, 90th percentile"
    unit = "s"
    kind = "derived"
    batch = "one"
    source = "latency_s"
    quantile = 0.90

    def value(self, samples: Sequence[float]) -> float:
        if len(samples) < _ENOUGH:
            raise Unmeasurable(f"{len(samples)} samples cannot tell a 90th percentile; it takes {_ENOUGH}")
        return super().value(samples)
