"""A cost as a straight line in another one, and by how much such a line errs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_FEWEST = 3  # two points are always on a line


@dataclass(frozen=True)
class Line:
    """y = `slope` x + `offset` by least squares over `n` models.

    r_squared      share of y's variance that the line explains
    median_error   of |line - y| / |y|: what the line is off by for a typical model
    largest_error  the same for the model that it fits worst
    """

    slope: float
    offset: float
    n: int
    r_squared: float
    median_error: float
    largest_error: float


def fit_line(x: ArrayLike, y: ArrayLike) -> Line | None:
    """The line through the models that have both; None where under three have, or x does not vary.

    Models with y = 0 count for the line but for no error. Nauen et al. 2023, "Which Transformer to Favor", sec. 5,
    estimate the memory of training so from operations: VRAM = a GFLOPs + b.
    """
    pairs = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    if len(pairs) < _FEWEST or np.ptp(pairs[:, 0]) == 0:
        return None
    across, up = pairs.T
    # about the means, for counts of 1e9 beside bytes would cost half of the digits
    away = across - across.mean()
    slope = float(away @ (up - up.mean()) / (away @ away))
    offset = float(up.mean() - slope * across.mean())
    rest = up - (slope * across + offset)
    spread = float(((up - up.mean()) ** 2).sum())
    errors = np.abs(rest[up != 0] / up[up != 0])
    return Line(
        slope=slope,
        offset=offset,
        n=len(pairs),
        r_squared=1 - float((rest**2).sum()) / spread if spread else math.nan,
        median_error=float(np.median(errors)) if errors.size else math.nan,
        largest_error=float(errors.max()) if errors.size else math.nan,
    )
