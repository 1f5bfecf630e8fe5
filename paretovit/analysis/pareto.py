"""Who is Pareto-optimal: no other model is as good in every respect and better in one.

Equal points do not dominate each other, so ties stay together on the front or off it. A point with a NaN is
unknown: it is never on the front, and it dominates nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


def front(costs: ArrayLike, qualities: ArrayLike) -> Mask:
    """Which of n models are Pareto-optimal for a cost (lower is better) and a quality (higher is better)."""
    return non_dominated(np.column_stack([np.asarray(costs, float), np.asarray(qualities, float)]), (-1, 1))


def non_dominated(points: ArrayLike, directions: Sequence[int]) -> Mask:
    """Which of the n `points` (n, dims) no other dominates.

    `directions` says for each dimension whether higher (1) or lower (-1) is better. Time n^2, memory n: a front
    of a few thousand models takes well under a second.
    """
    oriented = np.asarray(points, float) * np.asarray(directions, float)
    known = ~np.isnan(oriented).any(axis=1)
    return known & ~_beaten(oriented, oriented)


def not_beaten(lows: ArrayLike, highs: ArrayLike, directions: Sequence[int]) -> Mask:
    """Which of n models may be Pareto-optimal, given an interval (n, dims) for each value.

    A model is out only if some other is better beyond the noise in one dimension, and in every other is better
    beyond the noise or exactly equal, as two counted values may be. So this holds the front and its near ties.
    A NaN means that there is no value, as in `non_dominated`; an interval that claims nothing is infinite.
    """
    lows, highs, signs = np.asarray(lows, float), np.asarray(highs, float), np.asarray(directions, float)
    worst, best = np.where(signs > 0, lows, -highs), np.where(signs > 0, highs, -lows)
    known = ~np.isnan(np.column_stack([worst, best])).any(axis=1)
    return known & ~_beaten(worst, best)


def _beaten(worst: NDArray[np.float64], best: NDArray[np.float64]) -> Mask:
    """For each row, whether another's worst is at least its best everywhere and above it somewhere. A NaN is never
    at least anything, so that rows with one beat nobody."""
    return np.array([((worst >= row).all(axis=1) & (worst > row).any(axis=1)).any() for row in best], dtype=bool)
