"""Numbers that a model determines, judged by what is printed."""

from __future__ import annotations

import pytest

from paretovit.papers._cells import Cell
from paretovit.papers._counted import judged, printed_as, with_printed

CELL = Cell(paper="p", table="1", row="r", model="m", cell="gmacs", unit="G")


@pytest.mark.parametrize(("text", "number"), [("2.90", (2.9, 2)), ("785", (785, 0)), ("-0.06", (-0.06, 2))])
def test_a_printed_number_keeps_its_digits(text, number):
    assert printed_as(text) == number


@pytest.mark.parametrize(
    ("printed", "ours", "verdict"),
    [
        ("2.90", 2.8951, "exact"),
        ("2.90", 2.8949, "near"),
        ("2.90", 2.871, "near"),
        ("2.90", 2.870, "differs"),
        ("2.9", 2.870, "exact"),  # its one digit is met
        ("100", 101.4, "differs"),
        ("100", 101.0, "near"),
        (None, 3.0, "unprinted"),
    ],
)
def test_ours_is_exact_to_the_last_digit_or_near_or_different(printed, ours, verdict):
    cell = judged(with_printed(CELL, printed), ours)
    assert (cell.ours, cell.verdict) == (ours, verdict)


def test_a_reason_explains_what_is_neither_exact_nor_near_and_nothing_else():
    printed = with_printed(CELL, "2.00")
    assert judged(printed, 3.0, "because").verdict == "explained"
    assert judged(printed, 3.0, "because").note == "because"
    assert (judged(printed, 2.0, "because").verdict, judged(printed, 2.0, "because").note) == ("exact", "")
