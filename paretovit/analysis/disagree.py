"""Where indicators disagree: pairs of models that one cost puts in one order and another in the reverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from paretovit.analysis.intervals import Interval


@dataclass(frozen=True)
class Cost:
    """One indicator's values over the models, with their intervals; NaN and an interval that claims nothing
    where a model has none."""

    values: Sequence[float]
    intervals: Sequence[Interval]
    lower_is_better: bool = True


@dataclass(frozen=True)
class Reversal:
    """By cost `a`, model `first` beats `second` by the factor `by_a`; by cost `b`, `second` beats `first` by `by_b`.

    All four are positions in what was given; both factors are above 1.
    """

    a: int
    b: int
    first: int
    second: int
    by_a: float
    by_b: float

    @property
    def strength(self) -> float:
        """The factor that the more reluctant of the two costs states."""
        return min(self.by_a, self.by_b)


@dataclass(frozen=True)
class Agreement:
    """Of the pairs of models that costs `a` and `b` both tell apart (`claimed`), how many they order oppositely."""

    a: int
    b: int
    claimed: int
    reversed: int

    @property
    def share(self) -> float:
        return self.reversed / self.claimed if self.claimed else math.nan


def disagree(costs: Sequence[Cost], *, most: int | None = None) -> tuple[list[Reversal], list[Agreement]]:
    """Every reversal beyond the noise, strongest first, and for each pair of costs how often that happens.

    With `most`, of each two costs only so many of the strongest reversals: hundreds of models have millions of them.
    A cost orders two models only where their intervals are disjoint. Costs of 0 or below have no ratio: such
    a pair is counted as claimed, but its reversal has a factor of infinity.
    """
    orders = [_order(cost) for cost in costs]
    factors = [_factors(cost) for cost in costs]
    reversals, agreements = [], []
    for a, b in combinations(range(len(costs)), 2):
        product = orders[a] * orders[b]
        upper = np.triu(product, 1)
        agreements.append(Agreement(a, b, int((upper != 0).sum()), int((upper < 0).sum())))
        i, j = np.nonzero(upper < 0)
        by_a, by_b = factors[a][i, j], factors[b][i, j]
        strongest = np.argsort(-np.minimum(by_a, by_b), kind="stable")[:most]
        for at in map(int, strongest):
            pair = int(i[at]), int(j[at])
            first, second = pair if orders[a][pair] > 0 else pair[::-1]
            reversals.append(Reversal(a, b, first, second, float(by_a[at]), float(by_b[at])))
    return sorted(reversals, key=lambda found: -found.strength), agreements


def _order(cost: Cost) -> np.ndarray:
    """(models, models): 1 where the row's model surely beats the column's, -1 where it surely loses, else 0."""
    low, high = np.array(cost.intervals, float).reshape(-1, 2).T
    below = high[:, None] < low[None, :]
    order = below.astype(int) - below.T.astype(int)
    return order if cost.lower_is_better else -order


def _factors(cost: Cost) -> np.ndarray:
    """(models, models): how many times the larger of two values is the smaller; infinite where that is 0 or below."""
    values = np.asarray(cost.values, float)
    small, large = np.minimum.outer(values, values), np.maximum.outer(values, values)
    return np.divide(large, small, out=np.full_like(small, math.inf), where=small > 0)
