"""What an attention map is like, as numbers: how far it looks, and whether all queries look alike.

Paper    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", app. D.7 and fig. 7, and Raghu et al. 2021, "Do
         Vision Transformers See Like Convolutional Neural Networks?", sec. 4: the distance. The stripes are those that
         Vadakkeveedu 2023 shows in figure 2.4 and puts no number to.
Shapes   ... images and heads, N tokens, P patches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mean_distance(weights: ArrayLike, grid: tuple[int, int], patch_px: float) -> NDArray[np.float64]:
    """How many pixels a patch is from those that it attends to, by weight, averaged over the patches: (...,).

    `weights` (..., P, P) are those of patches to patches, row after row of the `grid`; a row that does not sum to 1,
    since class tokens have the rest, is brought to it. Distances are between the patches' centres.
    """
    table = np.asarray(weights, float)
    return (table / table.sum(-1, keepdims=True) * _distances(grid)).sum(-1).mean(-1) * patch_px


def even_distance(grid: tuple[int, int], patch_px: float) -> float:
    """The distance of attention that is the same to all patches: what `mean_distance` is held against."""
    return float(_distances(grid).mean()) * patch_px


def stripe_score(weights: ArrayLike) -> NDArray[np.float64]:
    """Which share of the variance of a map (..., N, M) is between its columns: (...,), from 0 to 1.

    1 if every query attends to the same keys, which then are bright vertical stripes; 0 if every key is attended to as
    much as any other, whoever by, and for an even map. It is the eta squared of an analysis of variance by columns.
    """
    table = np.asarray(weights, float)
    spread = np.square(table - table.mean((-2, -1), keepdims=True)).sum((-2, -1))
    columns = table.mean(-2)
    between = table.shape[-2] * np.square(columns - columns.mean(-1, keepdims=True)).sum(-1)
    nothing = spread <= 1e-20
    return np.where(nothing, 0.0, between / np.where(nothing, 1.0, spread))


def _distances(grid: tuple[int, int]) -> NDArray[np.float64]:
    """Between patches (P, P), in patches."""
    rows, columns = np.indices(grid).reshape(2, -1)
    return np.hypot(rows[:, None] - rows, columns[:, None] - columns)
