"""Multiply-accumulates per byte that operators read and write, of one image."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class ArithmeticIntensity(Static):
    """Multiply-accumulates per byte that operators read and write (MAC/B), of one image; FLOP/B are twice that.

    Williams et al. 2009, "Roofline": below the ratio of a device's peak arithmetic to its bandwidth, memory is what
    bounds the model. Every operator's bytes count, cached or not, so it is a lower bound of what caches make of it.
    """

    title = "arithmetic intensity"
    unit = "MAC/B"
    lower_is_better = False
    field = "arithmetic_intensity"
