"""The section of the page about what papers say."""

from __future__ import annotations

from paretovit.analysis.claims import Claim, Side
from paretovit.report.claims import claims_section

EVIL = "<i>&"


def claim(first: tuple[float, ...], second: tuple[float, ...], **words) -> Claim:
    words = {"paper": "some-paper", "says": "This is better than that", "where": "digits"} | words
    return Claim(first=Side("this", first, 55.9), second=Side("that", second, 57.5), **words)


def test_without_claims_there_is_no_section():
    assert claims_section([]) == ""


def test_says_how_many_hold_are_contradicted_and_stay_open():
    up, down = (60.0, 61.0, 62.0), (50.0, 51.0, 52.0)
    text = claims_section(
        [claim(up, down), claim(up, down), claim(down, up), claim(up, up), claim(up, up, bound="not below")]
    )
    assert "Of 5 comparisons 2 hold, 1 holds as a tie, 1 is contradicted, 1 stays open." in text


def test_a_line_has_means_with_spread_the_difference_the_verdict_and_what_is_printed():
    text = claims_section([claim((70.0, 71.0, 72.0), (50.0, 51.0, 52.0))])
    for part in ("71.0", "±2.5", "+20.0", "+17.7 to +22.3", ">holds<", "55.9, 57.5 !"):
        assert part in text


def test_a_negative_difference_has_a_minus_and_zero_has_none():
    text = claims_section([claim((50.0, 51.0, 52.0), (70.0, 71.0, 72.0)), claim((1.0, 2.0), (1.01, 2.01))])
    assert "−20.0" in text
    assert "+0.0 " in text
    assert 'class="text contradicted"' in text


def test_every_word_is_text():
    text = claims_section([claim((1.0,), (2.0,), paper=EVIL, says=EVIL, where=EVIL)])
    assert "<i>" not in text
    assert text.count("&lt;i&gt;&amp;") == 3
