import math

import numpy as np
import pytest
from scipy import stats

from paretovit.analysis.correlate import METHODS, _kendall_of_draws, bootstrap, correlate

NAN = math.nan


def test_kendall_counts_concordant_minus_discordant_pairs():
    # six pairs of models; only (2, 3) is ordered oppositely: (5 - 1) / 6
    assert correlate([[1, 1], [2, 3], [3, 2], [4, 4]], "kendall").r[0, 1] == pytest.approx(4 / 6)


def test_spearman_is_one_for_any_rising_curve_and_pearson_is_not():
    table = [[1, 1], [2, 10], [3, 1000]]
    assert correlate(table, "spearman").r[0, 1] == pytest.approx(1)
    # by hand: covariance 999 / sqrt(2 * (336.67^2... )), from deviations (-1, 0, 1) and (-336, -327, 663)
    assert correlate(table, "pearson").r[0, 1] == pytest.approx(999 / math.sqrt(2 * (336**2 + 327**2 + 663**2)))


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_uses_the_models_that_have_both_and_says_how_many(method):
    result = correlate([[1, 4, NAN], [2, 3, 1], [3, 2, 2], [4, NAN, 3]], method)
    assert result.n.tolist() == [[4, 3, 3], [3, 3, 2], [3, 2, 3]]
    assert result.r[0, 1] == pytest.approx(-1)
    assert result.r[0, 2] == pytest.approx(1)
    assert math.isnan(result.r[1, 2])  # two models always lie on a line


@pytest.mark.parametrize("method", METHODS)
def test_an_indicator_that_does_not_vary_correlates_with_nothing(method):
    result = correlate([[1, 7], [2, 7], [3, 7]], method)
    assert result.r[0, 0] == pytest.approx(1)
    assert np.isnan(result.r[0, 1])
    assert np.isnan(result.r[1, 1])


def test_the_bootstrap_is_wide_where_the_coefficient_hangs_on_one_model():
    steady = bootstrap(range(12), range(12), "pearson", draws=200)
    assert steady == (pytest.approx(1), pytest.approx(1))
    low, high = bootstrap([1, 2, 1, 2, 1, 2, 1, 2, 50], [1, 1, 2, 2, 1, 1, 2, 2, 50], "pearson", draws=200)
    assert low < 0.5 < 0.99 < high


def test_the_bootstrap_of_two_models_is_unknown():
    assert all(math.isnan(end) for end in bootstrap([1, 2, NAN], [1, 2, 3], "kendall", draws=10))


def test_kendall_of_many_draws_is_what_scipy_says_of_each():
    rng = np.random.default_rng(3)
    pair = rng.integers(0, 6, (15, 2)).astype(float)  # with ties
    picks = rng.integers(0, 15, (40, 15))
    picks[0] = 4  # one model all over: nothing varies
    found = _kendall_of_draws(pair, picks)
    assert math.isnan(found[0])
    expected = [stats.kendalltau(pair[pick, 0], pair[pick, 1])[0] for pick in picks[1:]]
    assert found[1:] == pytest.approx(expected, abs=1e-6)
