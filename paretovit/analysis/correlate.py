"""How far indicators agree: correlation matrices over models.

A cell uses the models that have both values (pairwise complete) and says how many these are. There are no
p-values: the models of a panel are chosen, not drawn at random; a bootstrap over models shows how much one cell
hangs on a few of them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Matrix = NDArray[np.float64]

METHODS = ("pearson", "spearman", "kendall")
_FEWEST = 3  # two models always lie on a line


@dataclass(frozen=True)
class Correlation:
    """`r` and `n` are (columns, columns); `r` is NaN where under three models have both or one does not vary."""

    method: str
    r: Matrix
    n: NDArray[np.int64]


def correlate(values: ArrayLike, method: str) -> Correlation:
    """The correlation of every pair of columns of `values` (models, columns), NaN where a model has no value."""
    table = np.asarray(values, float)
    width = table.shape[1]
    r, n = np.full((width, width), np.nan), np.zeros((width, width), dtype=np.int64)
    for i in range(width):
        for j in range(i, width):
            both = ~np.isnan(table[:, [i, j]]).any(axis=1)
            n[i, j] = n[j, i] = both.sum()
            r[i, j] = r[j, i] = coefficient(table[both, i], table[both, j], method)
    return Correlation(method, r, n)


def coefficient(a: Matrix, b: Matrix, method: str) -> float:
    """Pearson's r, Spearman's rho or Kendall's tau-b of two complete columns; NaN where it is not defined."""
    function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[method]
    if len(a) < _FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    with warnings.catch_warnings():
        # columns that vary in their last bits only are "nearly constant": scipy says so and returns what it can
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(function(a, b)[0])


def bootstrap(
    a: ArrayLike, b: ArrayLike, method: str, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The interval that holds `level` of the coefficients of models redrawn with replacement; NaN if under three."""
    pair = np.column_stack([np.asarray(a, float), np.asarray(b, float)])
    pair = pair[~np.isnan(pair).any(axis=1)]
    if len(pair) < _FEWEST:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(pair), (draws, len(pair)))
    if method == "kendall":
        redrawn = _kendall_of_draws(pair, picks)
    else:
        redrawn = np.array([coefficient(pair[pick, 0], pair[pick, 1], method) for pick in picks])
    defined = redrawn[~np.isnan(redrawn)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _kendall_of_draws(pair: Matrix, picks: NDArray[np.int64]) -> Matrix:
    """Tau-b of `pair` (models, 2) for every line of `picks` (draws, models), which names models and may repeat them;
    NaN where one column of a draw does not vary.

    Tau-b is a sum over pairs of models of the signs of their differences, and drawing a model w times multiplies its
    pairs by w. So all draws together are three matrix products, where one by one each would be sorted.
    """
    times = np.zeros((len(picks), len(pair)), dtype=np.float32)
    np.add.at(times, (np.arange(len(picks))[:, None], picks), 1)
    a, b = (np.sign(column[:, None] - column[None, :]).astype(np.float32) for column in pair.T)
    alike, varied_a, varied_b = (
        ((times @ signs) * times).sum(axis=1, dtype=float) for signs in (a * b, np.abs(a), np.abs(b))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varied_a * varied_b > 0, alike / np.sqrt(varied_a * varied_b), np.nan)
