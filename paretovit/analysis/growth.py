"""How a cost grows with the size of the input, and from which size on one model's is below another's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paretovit.analysis.intervals import Interval


@dataclass(frozen=True)
class Crossover:
    """Where one cost goes below another beyond the noise, to stay there up to the largest size measured.

    always   at every size measured
    from     from `size` on, which lies between two measured ones or is one of them
    never    not at the largest size measured; `size` is then infinite
    """

    kind: Literal["always", "from", "never"]
    size: float


def crossover(sizes: Sequence[float], costs: Sequence[Interval], others: Sequence[Interval]) -> Crossover:
    """From which of the sizes, which ascend, the first cost's interval lies below the other's.

    Between two sizes it is where the straight lines through the ends of the intervals meet, in logarithms; where the
    interval at the smaller size claims nothing, it is the larger size. Raises `ValueError` where there is no size.
    """
    if not sizes:
        raise ValueError("no size at which both were measured")
    gaps = [_gap(cost, other) for cost, other in zip(costs, others, strict=True)]
    first = len(gaps)
    while first > 0 and gaps[first - 1] < 0:
        first -= 1
    if first == len(gaps):
        return Crossover("never", math.inf)
    if first == 0:
        return Crossover("always", sizes[0])
    before, after = gaps[first - 1], gaps[first]
    if math.isinf(before) or math.isinf(after):
        return Crossover("from", sizes[first])
    part = before / (before - after)
    return Crossover("from", sizes[first - 1] * (sizes[first] / sizes[first - 1]) ** part)


def exponent(sizes: Sequence[float], values: Sequence[float], last: int = 3) -> float:
    """The power of the size with which the values grow: the slope through the last points in logarithms.

    NaN where fewer than two are positive.
    """
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0][-last:]
    if len(points) < 2:
        return math.nan
    x, y = np.log(np.asarray(points, float)).T
    return float(np.polyfit(x, y, 1)[0])


def _gap(cost: Interval, other: Interval) -> float:
    """The logarithm of the cost's upper end over the other's lower one; infinite where either claims nothing."""
    high, low = cost[1], other[0]
    if not (math.isfinite(high) and math.isfinite(low)) or low <= 0:
        return math.inf
    return math.log(high / low) if high > 0 else -math.inf
