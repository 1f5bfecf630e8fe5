import math

from paretovit.analysis.disagree import Agreement, Cost, Reversal, disagree


def exact(values, lower_is_better=True) -> Cost:
    return Cost(values, [(v, v) for v in values], lower_is_better)


def test_a_reversal_names_who_wins_by_which_cost_and_by_how_much():
    found, agreements = disagree([exact([1.0, 3.0]), exact([8.0, 4.0])])
    assert found == [Reversal(a=0, b=1, first=0, second=1, by_a=3.0, by_b=2.0)]
    assert found[0].strength == 2.0
    assert agreements == [Agreement(0, 1, claimed=1, reversed=1)]


def test_a_rate_agrees_with_the_time_that_it_inverts():
    found, agreements = disagree([exact([1.0, 2.0, 4.0]), exact([100.0, 50.0, 25.0], lower_is_better=False)])
    assert found == []
    assert agreements[0].claimed == 3


def test_a_higher_rate_wins():
    (found,), _ = disagree([exact([1.0, 2.0]), exact([10.0, 30.0], lower_is_better=False)])
    assert (found.first, found.second, found.by_a, found.by_b) == (0, 1, 2.0, 3.0)


def test_models_within_the_noise_are_not_said_to_be_reversed():
    noisy = Cost([8.0, 4.0], [(3.0, 9.0), (3.5, 4.5)])
    found, agreements = disagree([exact([1.0, 3.0]), noisy])
    assert found == []
    assert agreements[0].claimed == 0
    assert math.isnan(agreements[0].share)


def test_the_strongest_contradiction_comes_first():
    found, _ = disagree([exact([1.0, 2.0, 10.0]), exact([9.0, 6.0, 1.0])])
    # by the smaller factor: models 0 and 2 differ by 10 and 9, 1 and 2 by 5 and 6, 0 and 1 by 2 and 1.5
    assert [(r.first, r.second, r.strength) for r in found] == [(0, 2, 9.0), (1, 2, 5.0), (0, 1, 1.5)]


def test_a_model_without_a_value_takes_no_part():
    missing = Cost([math.nan, 4.0], [(-math.inf, math.inf), (4.0, 4.0)])
    found, agreements = disagree([exact([1.0, 3.0]), missing])
    assert (found, agreements[0].claimed) == ([], 0)
