import math
import random

import pytest

from paretovit.analysis.intervals import RESOLUTION, UNKNOWN, bootstrap_median, interval, tells_apart
from paretovit.measurement import Conditions, Measurement, Origin, median


def timed(samples, unit="s", **timing) -> Measurement:
    return Measurement(
        model="vit",
        indicator="latency_s",
        unit=unit,
        value=median(samples),
        samples=tuple(samples),
        conditions=Conditions(),
        origin=Origin(how="measured", timing=timing),
    )


def test_rounds_that_agree_have_a_point_for_an_interval():
    assert bootstrap_median([[1.0, 2.0, 9.0]] * 8) == (2.0, 2.0)


def test_the_interval_lies_between_the_smallest_and_the_largest_round():
    low, high = bootstrap_median([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert 1 <= low < 3 < high <= 5


def test_the_interval_is_the_same_each_time():
    rounds = [[random.Random(n).random()] for n in range(9)]
    assert bootstrap_median(rounds) == bootstrap_median(rounds)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says():
    chance = random.Random(1)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_median([[chance.gauss(10, 1)] for _ in range(15)], draws=300)
        hits += low <= 10 <= high
    assert 0.88 <= hits / 200 <= 1


def test_a_drift_that_the_anchor_saw_cancels():
    drift = [1.0, 1.1, 1.4, 1.2, 0.9, 1.0, 1.0]
    row = timed([2 * d for d in drift for _ in range(3)], rounds=7, anchor_rounds=drift)
    assert interval(row) == (pytest.approx(2 * (1 - RESOLUTION)), pytest.approx(2 * (1 + RESOLUTION)))
    unanchored = interval(timed(row.samples, rounds=7))
    assert unanchored[1] - unanchored[0] > 5 * RESOLUTION


def test_no_interval_of_a_time_is_narrower_than_the_resolution():
    assert interval(timed([4.0] * 10, rounds=5)) == (pytest.approx(3.96), pytest.approx(4.04))


def test_an_interval_holds_its_value():
    # the anchor slowed down in two of three rounds, this model in one: the corrected rounds lie below the value
    low, high = interval(timed([3.0, 3.0, 2.0], rounds=3, anchor_rounds=[2.0, 2.0, 1.0]))
    assert low <= 3.0 <= high


@pytest.mark.parametrize(
    ("unit", "timing"),
    [("s", {"rounds": 2, "contended": True}), ("s", {}), ("1/s", {}), ("s", {"rounds": 4})],
    ids=["contended", "time taken once", "rate taken once", "samples that are not so many rounds"],
)
def test_a_doubtful_time_claims_nothing(unit, timing):
    row = timed([1.0, 1.0], unit, **timing)
    assert interval(row) == UNKNOWN
    assert not tells_apart(interval(row), (100.0, 101.0))


def test_a_count_is_exact():
    assert interval(timed([5.0], unit="1")) == (5.0, 5.0)


def test_a_missing_value_claims_nothing():
    row = Measurement(
        model="m", indicator="i", unit="1", value=None, why="x", conditions=Conditions(), origin=Origin(how="counted")
    )
    assert interval(row) == (-math.inf, math.inf)


def test_an_accuracy_has_the_interval_that_its_row_states():
    assert interval(timed([0.9], unit="1", interval_95=[0.87, 0.92])) == (0.87, 0.92)


def test_only_disjoint_intervals_are_told_apart():
    assert tells_apart((1, 2), (3, 4))
    assert tells_apart((3, 4), (1, 2))
    assert not tells_apart((1, 3), (2, 4))
    assert not tells_apart((1, 2), (2, 3))
    assert tells_apart((1, 1), (2, 2))
