"""Which models keep within bounds, and which of these are worth having."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretovit.analysis.intervals import Interval
from paretovit.analysis.pareto import Mask, non_dominated, not_beaten

Holding = Literal["holds", "within noise", "fails", "unknown"]


@dataclass(frozen=True)
class Bound:
    """A `limit` for the values of one column: they are to be at most that, or at least."""

    column: int
    limit: float
    at_most: bool

    def holding(self, value: float, interval: Interval) -> Holding:
        """Whether the value keeps the bound beyond the noise, or breaks it, or the limit lies within its interval.

        A value whose interval claims nothing is taken as it is. A NaN is unknown.
        """
        if math.isnan(value):
            return "unknown"
        low, high = interval if math.isfinite(interval[1] - interval[0]) else (value, value)
        if not self.at_most:
            low, high = -high, -low
        limit = self.limit if self.at_most else -self.limit
        if high <= limit:
            return "holds"
        return "fails" if low > limit else "within noise"

    def excess(self, value: float) -> float:
        """By which share of the limit the value lies beyond it; negative on the right side, infinite for a limit of
        0."""
        beyond = value - self.limit if self.at_most else self.limit - value
        return beyond / abs(self.limit) if self.limit else math.copysign(math.inf, beyond)


@dataclass(frozen=True)
class Choice:
    """What `choose` found; all positions are those of the models given.

    holding    (models, bounds)
    eligible   keep every bound, at least within the noise
    ranked     those of them that no other dominates, best in the first column first
    tied       those that another dominates by its values, but none beyond the noise
    """

    holding: list[list[Holding]]
    eligible: Mask
    ranked: tuple[int, ...]
    tied: tuple[int, ...]


def choose(
    values: ArrayLike,
    intervals: Sequence[Sequence[Interval]],
    directions: Sequence[int],
    bounds: Sequence[Bound],
    *,
    epsilon: float = 0.0,
) -> Choice:
    """The models (rows of `values`, (models, columns)) that keep the bounds, and who of them is Pareto-optimal.

    `intervals` is (models, columns) too; `directions` says for each column whether higher (1) or lower (-1) is
    better. The first column ranks. With an `epsilon`, what lies that near the front is on it (`non_dominated`).
    A model without a value in some column is not eligible.
    """
    table = np.asarray(values, float)
    holding = [[b.holding(float(row[b.column]), ends[b.column]) for b in bounds]
               for row, ends in zip(table, intervals, strict=True)]  # fmt: skip
    kept = np.array([all(h in ("holds", "within noise") for h in row) for row in holding], dtype=bool)
    eligible = kept & ~np.isnan(table).any(axis=1)
    optimal = _within(eligible, non_dominated(table[eligible], directions, epsilon=epsilon))
    ends = np.array(intervals, float).reshape(*table.shape, 2)[eligible]
    lows, highs = np.moveaxis(_as_they_are(ends, table[eligible]), 2, 0)
    undecided = _within(eligible, not_beaten(lows, highs, directions)) & ~optimal

    def ranked(mask: Mask) -> tuple[int, ...]:
        return tuple(sorted(map(int, np.flatnonzero(mask)), key=lambda at: tuple(-table[at] * np.asarray(directions))))

    return Choice(holding, eligible, ranked(optimal), ranked(undecided))


@dataclass(frozen=True)
class Trade:
    """`to` breaks bounds; `excess` is the share of the limit by which it breaks the one that it breaks most."""

    to: int
    excess: float


def next_trade(
    choice: Choice,
    values: ArrayLike,
    intervals: Sequence[Sequence[Interval]],
    directions: Sequence[int],
    bounds: Sequence[Bound],
) -> Trade | None:
    """What a little more budget would buy: of the models outside the bounds that are better in the first column than
    the first-ranked, beyond the noise, the one that breaks the bounds least; where nothing is ranked, of all models.
    None if there is none."""
    table = np.asarray(values, float)
    ends = _as_they_are(np.array(intervals, float).reshape(*table.shape, 2), table)[:, 0]
    worst, best = (ends[:, 0], ends[:, 1]) if directions[0] > 0 else (-ends[:, 1], -ends[:, 0])
    first = best[choice.ranked[0]] if choice.ranked else -math.inf
    trades = [
        Trade(at, max(bound.excess(float(row[bound.column])) for bound in bounds))
        for at, row in enumerate(table)
        if not choice.eligible[at] and not np.isnan(row).any() and worst[at] > first
    ]
    return min(trades, key=lambda trade: trade.excess, default=None)


def _within(of: Mask, found: Mask) -> Mask:
    whole = np.zeros(len(of), dtype=bool)
    whole[of] = found
    return whole


def _as_they_are(ends: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intervals that claim nothing replaced by the value alone, as `Bound.holding` takes it."""
    return np.where(np.isfinite(ends).all(axis=2, keepdims=True), ends, values[..., None])
