import math

import pytest

from paretovit.analysis.bounds import Bound, choose, next_trade

UNKNOWN = (-math.inf, math.inf)
FASTER_THAN_10 = Bound(1, 10.0, at_most=True)
BETTER_THAN_80 = Bound(0, 0.80, at_most=False)

# accuracy (±0.01) and latency (exact)
MODELS = {
    "best": (0.90, 20.0),
    "good": (0.86, 9.0),
    "near": (0.855, 9.5),
    "fast": (0.82, 3.0),
    "slow": (0.82, 5.0),
    "poor": (0.70, 1.0),
    "edge": (0.795, 2.0),
    "blank": (math.nan, 2.0),
}
VALUES = list(MODELS.values())
INTERVALS = [((a - 0.01, a + 0.01), (t, t)) for a, t in VALUES]
AT = {name: at for at, name in enumerate(MODELS)}


def chosen(*bounds: Bound, **more):
    return choose(VALUES, INTERVALS, (1, -1), bounds, **more)


def names(positions) -> list[str]:
    return [list(MODELS)[at] for at in positions]


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (8.0, (7.0, 10.0), "holds"),
        (8.0, (7.0, 10.1), "within noise"),
        (11.0, (10.0, 12.0), "within noise"),
        (11.0, (10.1, 12.0), "fails"),
        (9.0, UNKNOWN, "holds"),
        (11.0, UNKNOWN, "fails"),
        (math.nan, (math.nan, math.nan), "unknown"),
    ],
)
def test_a_bound_from_above_holds_beyond_the_noise_within_it_or_not(value, interval, said):
    assert FASTER_THAN_10.holding(value, interval) == said


@pytest.mark.parametrize(
    ("value", "interval", "said"),
    [
        (0.9, (0.80, 0.95), "holds"),
        (0.9, (0.79, 0.95), "within noise"),
        (0.75, (0.70, 0.80), "within noise"),
        (0.75, (0.70, 0.79), "fails"),
        (0.75, UNKNOWN, "fails"),
    ],
)
def test_a_bound_from_below_likewise(value, interval, said):
    assert BETTER_THAN_80.holding(value, interval) == said


def test_the_excess_is_a_share_of_the_limit_and_negative_on_the_right_side():
    assert FASTER_THAN_10.excess(12.0) == pytest.approx(0.2)
    assert FASTER_THAN_10.excess(5.0) == pytest.approx(-0.5)
    assert BETTER_THAN_80.excess(0.6) == pytest.approx(0.25)
    assert Bound(0, 0.0, at_most=True).excess(1.0) == math.inf


def test_the_optimal_ones_are_ranked_by_the_first_column_and_ties_follow():
    choice = chosen(FASTER_THAN_10, BETTER_THAN_80)
    assert names([at for at, kept in enumerate(choice.eligible) if kept]) == ["good", "near", "fast", "slow", "edge"]
    assert names(choice.ranked) == ["good", "fast", "edge"]
    # beaten by "good" and "fast" in latency beyond the noise, in accuracy not
    assert names(choice.tied) == ["near", "slow"]


def test_a_model_without_a_value_is_not_eligible():
    assert not chosen(FASTER_THAN_10).eligible[AT["blank"]]


def test_what_lies_near_the_front_is_on_it_with_an_epsilon():
    assert "near" in names(chosen(FASTER_THAN_10, BETTER_THAN_80, epsilon=0.1).ranked)


def test_a_value_whose_interval_claims_nothing_is_compared_as_it_is():
    choice = choose([[0.9, 5.0], [0.8, 6.0]], [[(0.9, 0.9), UNKNOWN], [(0.8, 0.8), UNKNOWN]], (1, -1), [FASTER_THAN_10])
    assert (choice.ranked, choice.tied) == ((0,), ())


def test_the_next_trade_is_better_beyond_the_noise_and_breaks_the_bounds_least():
    bounds = (FASTER_THAN_10, BETTER_THAN_80)
    trade = next_trade(chosen(*bounds), VALUES, INTERVALS, (1, -1), bounds)
    assert trade is not None
    assert (trade.to, trade.excess) == (AT["best"], pytest.approx(1.0))


def test_there_is_no_next_trade_where_what_is_outside_is_not_better_beyond_the_noise():
    bounds = (Bound(1, 9.2, at_most=False),)  # which "good" breaks: its accuracy is higher, within the noise
    values, intervals = VALUES[1:3], INTERVALS[1:3]
    choice = choose(values, intervals, (1, -1), bounds)
    assert next_trade(choice, values, intervals, (1, -1), bounds) is None


def test_where_nothing_keeps_the_bounds_the_next_trade_is_the_nearest():
    bounds = (Bound(1, 0.5, at_most=True),)
    choice = chosen(*bounds)
    trade = next_trade(choice, VALUES, INTERVALS, (1, -1), bounds)
    assert choice.ranked == ()
    assert trade is not None
    assert trade.to == AT["poor"]
