import pytest

from paretovit.analysis.claims import Claim, Side, summed_up, tally


def claim(first, second, bound="above", printed=(None, None), **how) -> Claim:
    sides = [Side(name, values, shown) for name, values, shown in zip("ab", (first, second), printed, strict=True)]
    return Claim(paper="p", says="a is better", where="here", first=sides[0], second=sides[1], bound=bound, **how)


# three runs of standard deviation 1 on each side: Welch's t with four degrees of freedom is 2.776, its reach 2.27
@pytest.mark.parametrize(
    ("shift", "above", "not_below"),
    [(2.3, "holds", "holds"), (2.2, "open", "holds"), (-2.2, "open", "holds"), (-2.3, "contradicted", "contradicted")],
)
def test_the_interval_of_the_difference_decides(shift, above, not_below):
    first, second = tuple(50 + shift + d for d in (-1, 0, 1)), (49, 50, 51)
    assert claim(first, second).verdict == above
    assert claim(first, second, "not below").verdict == not_below


def test_that_no_other_is_better_may_hold_for_want_of_a_difference_and_says_so():
    assert claim((50, 51, 52), (50, 51, 52), "not below").said == "holds (tie)"
    assert claim((60, 61, 62), (50, 51, 52), "not below").said == "holds"


def test_a_single_seed_leaves_a_claim_open():
    assert claim((90.0,), (10.0, 11.0)).verdict == "open"
    assert claim((90.0,), (10.0, 11.0), "not below").verdict == "open"


def test_says_whether_the_papers_own_numbers_bear_it_out():
    runs = (1.0, 2.0)
    assert claim(runs, runs, printed=(57.5, 55.9)).printed_bears_out is True
    assert claim(runs, runs, printed=(55.9, 57.5)).printed_bears_out is False
    assert claim(runs, runs, printed=(55.9, None)).printed_bears_out is None


def test_the_tally_counts_every_claim_once():
    claims = [claim((60, 61, 62), (50, 51, 52)), claim((1.0,), (2.0,))]
    claims.append(claim((50, 51, 52), (50, 51, 52), "not below"))
    assert tally(claims) == {"holds": 1, "holds (tie)": 1, "contradicted": 0, "open": 1}


# differences by seed of mean `by` and standard deviation 1: Student's t with two degrees of freedom is 4.303, its reach
# 2.484; the parents' own spread of 20 points does not matter
@pytest.mark.parametrize(
    ("by", "above", "within"), [(2.6, "holds", "open"), (2.4, "open", "holds"), (-2.6, "contradicted", "open")]
)
def test_children_of_one_parent_are_compared_seed_by_seed(by, above, within):
    parents = (40, 60, 80)
    first = tuple(parent + by + d for parent, d in zip(parents, (-1, 0, 1), strict=True))
    assert claim(first, parents, paired=True).verdict == above
    assert claim(first, parents).verdict == "open"
    assert claim(first, parents, "within", margin=5.0, paired=True).verdict == within
    assert claim(first, parents, "within", margin=5.1, paired=True).verdict == "holds"


def test_equal_children_of_every_parent_are_within_any_bound():
    assert claim((40, 60), (40, 60), "within", margin=0.1, paired=True).verdict == "holds"
    assert claim((40, 60), (40, 60), paired=True).verdict == "open"


def test_what_lies_beyond_the_bound_contradicts_that_two_are_alike():
    far = claim((50, 51, 52), (40, 41, 42), "within", margin=7.7)
    assert far.verdict == "contradicted"  # by 10, give or take 2.27
    assert claim((50, 51, 52), (40, 41, 42), "within", margin=7.8).verdict == "open"
    assert claim((40, 41, 42), (50, 51, 52), "within", margin=7.7).verdict == "contradicted"


@pytest.mark.parametrize(("margin", "verdict"), [(-2.3, "holds"), (-2.2, "open"), (2.2, "open"), (2.3, "contradicted")])
def test_a_margin_moves_the_bound_and_below_zero_lets_the_first_be_worse(margin, verdict):
    one = claim((49, 50, 51), (49, 50, 51), margin=margin)
    assert (one.verdict, one.said) == (verdict, verdict)


def test_pairs_are_summed_up():
    up, down, equal = (60, 61, 62), (50, 51, 52), (50.0, 51.0, 52.0)
    yes, no, unknown = claim(up, down), claim(down, up), claim(equal, down)
    assert summed_up([yes, yes]) == "holds"
    assert summed_up([yes, claim(equal, down, "not below")]) == "holds"
    assert summed_up([no]) == "does not hold"
    assert summed_up([unknown, claim((1.0,), (2.0,))]) == "open"
    assert summed_up([yes, no, yes, unknown]) == "holds in 2, does not in 1, open in 1 of 4"
    assert summed_up([no, unknown]) == "does not in 1, open in 1 of 2"
