import math
from dataclasses import replace

import pytest
from scipy import stats

from paretovit.analysis.intervals import UNKNOWN, interval
from paretovit.analysis.seeds import difference, mean_interval, pooled
from paretovit.measurement import Conditions, Measurement, Origin


def run(value: float | None, seed: int, **timing) -> Measurement:
    return Measurement(
        model="vit",
        indicator="top1",
        unit="1",
        value=value,
        samples=() if value is None else (value,),
        conditions=Conditions(spec="vit", split="test", seed=seed),
        origin=Origin(how="trained", time=f"2025-11-2{seed}", timing=timing),
        why="diverged" if value is None else "",
    )


def test_the_interval_of_a_mean_is_students():
    # the mean of 1, 2, 3 has the error 1 / sqrt 3; with two degrees of freedom t is 4.3026527
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low, high) == (pytest.approx(2 - 4.3026527 / math.sqrt(3)), pytest.approx(2 + 4.3026527 / math.sqrt(3)))


def test_one_run_says_nothing_of_others():
    assert mean_interval([1.0]) == UNKNOWN
    assert difference([1.0], [2.0, 3.0]) == (-1.5, UNKNOWN)


def test_a_difference_has_the_interval_that_scipy_gives_for_welch():
    a, b = [0.50, 0.52, 0.57], [0.41, 0.40, 0.44, 0.49]
    by, found = difference(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert by == pytest.approx(0.53 - 0.435)
    assert found == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_runs_without_any_spread_claim_no_difference():
    assert difference([1.0, 1.0], [2.0, 2.0]) == (-1.0, UNKNOWN)


def test_runs_become_their_mean_with_the_values_by_seed():
    row = pooled([run(0.6, 2), run(0.4, 0), run(0.5, 1)])
    assert row.value == pytest.approx(0.5)
    assert row.samples == (0.4, 0.5, 0.6)
    assert row.origin.timing["seeds"] == [0, 1, 2]
    assert row.conditions == Conditions(spec="vit", split="test")
    assert row.origin.time == "2025-11-22"
    assert interval(row) == mean_interval([0.4, 0.5, 0.6])


def test_a_single_run_keeps_its_own_interval():
    one = run(0.5, 0, interval_95=[0.45, 0.55])
    assert pooled([one]) is one
    assert pooled([one, run(None, 1)]) is one


def test_where_no_run_has_a_value_the_reason_stands():
    assert pooled([run(None, 0), run(None, 1)]).why == "diverged"


def test_runs_that_came_out_equal_keep_the_interval_of_one_of_them():
    row = pooled([run(0.5, seed, interval_95=[0.45, 0.55], images=400) for seed in (0, 1)])
    assert interval(row) == (0.45, 0.55)
    assert row.origin.timing["images"] == 400


def test_a_share_stays_between_0_and_1():
    row = pooled([run(value, seed, interval_95=[0.5, 1.0]) for seed, value in enumerate((0.90, 0.99))])
    assert interval(row)[1] == 1.0


def test_a_run_on_a_busy_machine_takes_the_interval_from_all():
    busy = replace(run(0.5, 1, contended=True), unit="s")
    row = pooled([replace(run(0.4, 0), unit="s"), busy])
    assert interval(row) == UNKNOWN
    assert row.origin.timing["contended"]
