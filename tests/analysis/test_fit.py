import math

import numpy as np
import pytest

from paretovit.analysis.fit import fit_line


def test_points_on_a_line_give_it_back_without_error():
    line = fit_line([1, 2, 4], [3, 5, 9])
    assert (line.slope, line.offset, line.n) == (pytest.approx(2), pytest.approx(1), 3)
    assert line.r_squared == pytest.approx(1)
    assert line.largest_error == pytest.approx(0, abs=1e-12)


def test_the_line_is_that_of_numpy_and_its_errors_are_shares_of_the_value():
    rng = np.random.default_rng(0)
    x = rng.uniform(1e9, 2e10, 30)
    y = 0.2 * x + 3e8 + rng.normal(0, 1e8, 30)
    line = fit_line(x, y)
    slope, offset = np.polyfit(x, y, 1)
    assert (line.slope, line.offset) == (pytest.approx(slope), pytest.approx(offset))
    errors = np.abs((slope * x + offset) / y - 1)
    assert line.median_error == pytest.approx(np.median(errors))
    assert line.largest_error == pytest.approx(errors.max())
    assert line.r_squared == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_models_without_both_values_are_left_out():
    assert fit_line([1, 2, 4, 5, math.nan], [3, 5, 9, math.nan, 1]).n == 3


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([2, 2, 2], [1, 2, 3]), ([1, 2, math.nan], [1, 2, 3])])
def test_there_is_no_line_through_two_points_or_where_nothing_varies(x, y):
    assert fit_line(x, y) is None
