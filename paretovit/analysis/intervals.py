"""How sure a number is: an interval for every row, and whether two of them can be told apart.

Times are taken in rounds, and a machine drifts between rounds more than within one. So the interval comes from
redrawing whole rounds, each divided by what the anchor model took in the same round: a drift that both saw
cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretovit.measurement import Measurement

Interval = tuple[float, float]

# Two fresh processes of one model differ by about this much (memory layout, page placement), which no number of
# repeats within one process shows. A narrower interval would claim what the next run takes back.
RESOLUTION = 0.01

UNKNOWN: Interval = (-math.inf, math.inf)  # claims nothing

# A number in these units is noisy even where the row does not show how much.
_TIMED = ("s", "1/s")


def bootstrap_median(
    rounds: Sequence[Sequence[float]] | NDArray[np.float64],
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The interval that holds `level` of the medians of the rounds' medians, rounds redrawn with replacement."""
    centers = np.array([np.median(one) for one in rounds], dtype=float)
    rng = np.random.default_rng(seed)
    redrawn = np.median(centers[rng.integers(0, len(centers), (draws, len(centers)))], axis=1)
    low, high = np.quantile(redrawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def of_rounds(rounds: NDArray[np.float64], sittings: int = 1) -> Interval:
    """The interval of the median of (rounds, repeats), taken in so many processes one after the other.

    Redrawing rounds does not show how processes of one model differ; what each of them saw lies inside, too.
    """
    low, high = bootstrap_median(rounds)
    medians = [float(np.median(part)) for part in np.array_split(rounds, sittings)]
    return min(low, *medians), max(high, *medians)


def interval(row: Measurement) -> Interval:
    """Where the row's value may lie.

    A counted value is exact. A share of so many images has the interval that its row states (`origin.timing`:
    `interval_95`). A timed one has the bootstrap interval over its rounds (`rounds`, `anchor_rounds`), at least
    `RESOLUTION` to each side of the value. A time without rounds or samples (a 90th percentile), one taken while
    others used the machine (`contended`) and a missing value claim nothing.
    """
    timing = row.origin.timing
    if row.value is not None and "interval_95" in timing:
        low, high = timing["interval_95"]
        return low, high
    if row.value is None or timing.get("contended"):
        return UNKNOWN
    rounds = _rounds(row)
    if rounds is None:
        return UNKNOWN if row.unit in _TIMED else (row.value, row.value)
    low, high = of_rounds(rounds, timing.get("sittings", 1))
    slack = RESOLUTION * abs(row.value)
    return min(low, row.value - slack), max(high, row.value + slack)


def round_medians(row: Measurement) -> list[float]:
    """The median of each round of a timed row, freed of the anchor's drift; empty for a row that claims nothing."""
    rounds = None if row.value is None or row.origin.timing.get("contended") else _rounds(row)
    return [] if rounds is None else [float(np.median(one)) for one in rounds]


def tells_apart(a: Interval, b: Interval) -> bool:
    """Whether the intervals are disjoint; two that touch are not."""
    return a[1] < b[0] or b[1] < a[0]


def _rounds(row: Measurement) -> NDArray[np.float64] | None:
    """The samples as (rounds, repeats), freed of the anchor's drift; None where the row was not timed in rounds.

    `anchor_rounds` are in the row's own unit, so that one division serves times and rates.
    """
    count = row.origin.timing.get("rounds")
    if not count or not row.samples or len(row.samples) % count:
        return None
    rounds = np.asarray(row.samples, float).reshape(count, -1)
    anchor = row.origin.timing.get("anchor_rounds")
    if anchor and len(anchor) == count:
        # what the anchor took when it was first measured: models of other groups and days are on that scale too
        reference = row.origin.timing.get("anchor_reference", float(np.median(anchor)))
        rounds = rounds / (np.asarray(anchor, float) / reference)[:, None]
    return rounds
