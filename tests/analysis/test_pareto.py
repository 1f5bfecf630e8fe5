import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paretovit.analysis.pareto import exclusive, front, hypervolume, non_dominated, not_beaten

# few distinct numbers, so that ties and duplicates are common
values = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, math.nan])
clouds = arrays.arrays(float, st.tuples(st.integers(0, 9), st.integers(1, 4)), elements=values)


def dominates(a, b, directions) -> bool:
    gains = [d * (x - y) for x, y, d in zip(a, b, directions, strict=True)]
    return all(g >= 0 for g in gains) and any(g > 0 for g in gains)


@given(clouds, st.data())
def test_the_front_is_what_no_other_point_dominates(points, data):
    directions = [data.draw(st.sampled_from([-1, 1])) for _ in range(points.shape[1])]
    known = [p for p in points if not np.isnan(p).any()]
    expected = [not np.isnan(p).any() and not any(dominates(q, p, directions) for q in known) for p in points]
    assert non_dominated(points, directions).tolist() == expected


def test_lower_cost_and_higher_quality_win():
    assert front([1, 2, 2, 3], [0.5, 0.9, 0.8, 0.9]).tolist() == [True, True, False, False]


def test_ties_stay_together_on_the_front():
    assert front([1, 1, 2], [0.5, 0.5, 0.5]).tolist() == [True, True, False]


def test_a_nan_is_never_on_the_front_and_takes_nobody_off_it():
    assert front([math.nan, 1, 2], [1.0, math.nan, 0.1]).tolist() == [False, False, True]


def test_a_model_within_the_noise_of_the_front_is_not_beaten():
    # the second is worse in both, but its cost overlaps the first's; the third is worse beyond the noise
    lows, highs = [[1.0, 0.90], [1.1, 0.80], [1.5, 0.80]], [[1.2, 0.90], [1.3, 0.80], [1.6, 0.80]]
    assert not_beaten(lows, highs, (-1, 1)).tolist() == [True, True, False]


def test_an_equal_exact_value_and_a_clear_win_in_the_other_beat():
    lows = highs = [[1.0, 0.9], [2.0, 0.9]]
    assert not_beaten(lows, highs, (-1, 1)).tolist() == [True, False]


def test_an_interval_that_claims_nothing_is_neither_beaten_nor_beats():
    lows, highs = [[-math.inf, 0.5], [1.0, 0.9]], [[math.inf, 0.5], [1.0, 0.9]]
    assert not_beaten(lows, highs, (-1, 1)).tolist() == [True, True]


def test_a_model_without_a_value_is_not_among_the_not_beaten():
    lows = highs = [[math.nan, 0.5], [1.0, 0.4]]
    assert not_beaten(lows, highs, (-1, 1)).tolist() == [False, True]


@given(arrays.arrays(float, st.tuples(st.integers(0, 8), st.just(2)), elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_without_noise_what_is_not_beaten_is_the_front(points):
    assert not_beaten(points, points, (-1, 1)).tolist() == non_dominated(points, (-1, 1)).tolist()


def test_with_an_epsilon_what_lies_that_near_the_front_stays():
    points = [[1.0, 0.90], [1.05, 0.88], [1.2, 0.84]]
    assert non_dominated(points, (-1, 1)).tolist() == [True, False, False]
    assert non_dominated(points, (-1, 1), epsilon=0.06).tolist() == [True, True, False]


@given(clouds, st.floats(0, 1))
def test_an_epsilon_only_adds_to_the_front(points, epsilon):
    directions = (1,) * points.shape[1]
    assert (non_dominated(points, directions) <= non_dominated(points, directions, epsilon=epsilon)).all()


def test_an_epsilon_below_zero_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        non_dominated([[1.0]], (1,), epsilon=-0.1)


def test_an_epsilon_may_differ_between_dimensions():
    points = [[1.0, 0.90], [1.05, 0.80], [1.2, 0.85]]
    assert non_dominated(points, (-1, 1), epsilon=(0.06, 0.0)).tolist() == [True, True, False]
    assert non_dominated(points, (-1, 1), epsilon=(0.0, 0.06)).tolist() == [True, False, True]


@given(arrays.arrays(int, st.tuples(st.integers(1, 7), st.integers(1, 4)), elements=st.integers(0, 4)))
def test_what_a_point_alone_dominates_is_what_the_hypervolume_loses_without_it(points):
    reference, directions = (0,) * points.shape[1], (1,) * points.shape[1]
    whole = hypervolume(points, directions, reference)
    lost = [whole - hypervolume(np.delete(points, at, axis=0), directions, reference) for at in range(len(points))]
    assert exclusive(points, directions, reference) == pytest.approx(lost)


def test_what_is_unknown_alone_dominates_nothing():
    # beside (1, 0.5) and (2, 0.7), seen from (4, 0): the first alone has 1 x 0.5, the second 2 x 0.2
    points = [[1, 0.5], [math.nan, 1.0], [2, 0.7]]
    assert exclusive(points, (-1, 1), (4, 0)) == pytest.approx([0.5, 0.0, 0.4])


def test_the_hypervolume_of_a_staircase_is_its_area():
    # costs 1, 2, 3 (lower is better) and qualities, from the reference (4, 0): 3*0.5 + 2*0.2 + 1*0.1
    points = [[1, 0.5], [2, 0.7], [3, 0.8], [3, 0.6]]
    assert hypervolume(points, (-1, 1), (4, 0)) == pytest.approx(1.5 + 0.4 + 0.1)


def test_the_hypervolume_ignores_what_is_unknown_or_not_better_than_the_reference():
    assert hypervolume([[math.nan, 1], [5, 1], [4, 1], [1, -1]], (-1, 1), (4, 0)) == 0.0
    assert hypervolume(np.empty((0, 2)), (-1, 1), (4, 0)) == 0.0


small = st.integers(0, 4)


@given(arrays.arrays(int, st.tuples(st.integers(1, 7), st.integers(1, 4)), elements=small))
def test_the_hypervolume_is_the_number_of_dominated_cells_of_a_grid(points):
    dims = points.shape[1]
    cells = np.array(list(itertools.product(range(4), repeat=dims)))
    covered = (cells[:, None, :] < points[None, :, :]).all(axis=2).any(axis=1)
    assert hypervolume(points, (1,) * dims, (0,) * dims) == pytest.approx(covered.sum())
