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


def non_dominated(points: ArrayLike, directions: Sequence[int], *, epsilon: ArrayLike = 0.0) -> Mask:
    """Which of the n `points` (n, dims) no other dominates.

    `directions` says for each dimension whether higher (1) or lower (-1) is better. With an `epsilon` a point is out
    only if another dominates it even after it is made better by that share of itself in every dimension, so that
    what lies that near the front stays (multiplicative epsilon-dominance, Laumanns et al. 2002, "Combining
    Convergence and Diversity in Evolutionary Multiobjective Optimization"). It is one number for all dimensions, or
    one for each (dims), such as how noisy each is. Time n^2, memory n: a front of a few
    thousand models takes well under a second. Raises `ValueError` for an epsilon below 0.
    """
    shares = np.asarray(epsilon, float)
    if (shares < 0).any():
        raise ValueError(f"epsilon must be at least 0, got {epsilon!r}")
    oriented = np.asarray(points, float) * np.asarray(directions, float)
    known = ~np.isnan(oriented).any(axis=1)
    return known & ~_beaten(oriented, oriented + shares * np.abs(oriented))


def hypervolume(points: ArrayLike, directions: Sequence[int], reference: ArrayLike) -> float:
    """The volume that the `points` (n, dims) dominate, down to the `reference` point (dims).

    It grows with every point that reaches beyond the others, so one number ranks whole fronts (Zitzler and Thiele
    1998). Points that are not better than the reference in every dimension, and points with a NaN, add nothing. Exact,
    by slicing along the last dimension (While et al. 2006): meant for fronts of some hundred points in up to five
    dimensions.
    """
    gains = _gains(points, directions, reference)
    return _volume(gains[(gains > 0).all(axis=1)])


def exclusive(points: ArrayLike, directions: Sequence[int], reference: ArrayLike) -> NDArray[np.float64]:
    """The part of the hypervolume that each of the `points` (n, dims) alone dominates: what the front would lose
    without it. 0 for a dominated point, and for each of two equal ones.

    Its own box less what the others cover of it; boxes that are cut to its own leave few of them on the front (While
    et al. 2012, "A Fast Way of Calculating Exact Hypervolumes"). `reference` and cost are as for `hypervolume`.
    """
    gains = _gains(points, directions, reference)
    own = np.zeros(len(gains))
    inside = np.flatnonzero((gains > 0).all(axis=1))
    for at in inside[non_dominated(gains[inside], (1,) * gains.shape[1])]:
        others = inside[inside != at]
        own[at] = np.prod(gains[at]) - _volume(np.minimum(gains[others], gains[at]))
    return own


def _gains(points: ArrayLike, directions: Sequence[int], reference: ArrayLike) -> NDArray[np.float64]:
    """How much better than the reference each point is in each dimension."""
    signs = np.asarray(directions, float)
    return (np.asarray(points, float).reshape(-1, len(signs)) - np.asarray(reference, float)) * signs


def _volume(gains: NDArray[np.float64]) -> float:
    """Of the union of the boxes from the origin to each of the points, which are positive."""
    if not len(gains):
        return 0.0
    if gains.shape[1] == 1:
        return float(gains.max())
    if gains.shape[1] == 2:  # a staircase: each step adds what rises above all that reach further
        width, height = gains[np.argsort(-gains[:, 0])].T
        risen = np.maximum.accumulate(height)
        return float(width @ np.diff(risen, prepend=0.0))
    gains = gains[non_dominated(gains, (1,) * gains.shape[1])]
    gains = gains[np.argsort(-gains[:, -1])]
    heights = gains[:, -1] - np.append(gains[1:, -1], 0.0)
    return sum(float(h) * _volume(gains[: at + 1, :-1]) for at, h in enumerate(heights) if h > 0)


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
