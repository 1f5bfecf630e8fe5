import pytest

from paretovit.analysis.claims import Claim, Side, tally


def claim(first, second, bound="above", printed=(None, None)) -> Claim:
    sides = [Side(name, values, shown) for name, values, shown in zip("ab", (first, second), printed, strict=True)]
    return Claim(paper="p", says="a is better", where="here", first=sides[0], second=sides[1], bound=bound)


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
