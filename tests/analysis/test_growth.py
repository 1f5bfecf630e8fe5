import math

import pytest

from paretovit.analysis.growth import Crossover, crossover, exponent
from paretovit.analysis.intervals import UNKNOWN

SIZES = [16, 64, 256, 1024]


def around(values, part=0.0):
    return [(value * (1 - part), value * (1 + part)) for value in values]


def test_a_linear_cost_crosses_a_quadratic_one_where_they_are_equal():
    linear, quadratic = around([10.0 * n for n in SIZES]), around([0.1 * n**2 for n in SIZES])
    found = crossover(SIZES, linear, quadratic)
    assert (found.kind, found.size) == ("from", pytest.approx(100))
    assert crossover(SIZES, quadratic, linear) == Crossover("never", math.inf)


def test_noise_moves_the_crossover_to_where_the_intervals_part():
    # 10 n (1 + 0.1) = 0.1 n^2 (1 - 0.1)
    linear, quadratic = around([10.0 * n for n in SIZES], 0.1), around([0.1 * n**2 for n in SIZES], 0.1)
    assert crossover(SIZES, linear, quadratic).size == pytest.approx(100 * 1.1 / 0.9)


def test_a_cost_that_is_lower_throughout_crosses_nowhere():
    assert crossover(SIZES, around([1.0] * 4), around([2.0] * 4)) == Crossover("always", 16)


def test_a_cost_that_is_lower_only_for_a_while_does_not_count():
    assert crossover(SIZES, around([3.0, 1.0, 3.0, 1.0]), around([2.0] * 4)).size > 256
    assert crossover(SIZES, around([1.0, 1.0, 1.0, 3.0]), around([2.0] * 4)).kind == "never"


def test_equal_costs_are_no_crossover():
    assert crossover([16], [(1.0, 1.0)], [(1.0, 1.0)]).kind == "never"


def test_after_a_size_that_claims_nothing_it_is_the_first_that_does():
    assert crossover(SIZES, [UNKNOWN, *around([1.0] * 3)], around([2.0] * 4)) == Crossover("from", 64)


def test_without_a_size_there_is_nothing_to_say():
    with pytest.raises(ValueError, match="no size"):
        crossover([], [], [])


def test_the_exponent_is_that_of_the_last_points():
    assert exponent(SIZES, [n**1.5 for n in SIZES]) == pytest.approx(1.5)
    assert exponent(SIZES, [999.0, 64.0, 256.0, 1024.0]) == pytest.approx(1.0)
    assert math.isnan(exponent([16], [1.0]))
