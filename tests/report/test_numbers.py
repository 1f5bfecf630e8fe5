import math

import pytest

from paretovit.report.numbers import Scale, number, scale


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.23456, "1.23"),
        (12.3456, "12.3"),
        (123.456, "123"),
        (12345.6, "12,346"),
        (0.0012345, "0.00123"),
        (-4.567, "-4.57"),
        (9.996, "10.0"),
        (0.00000123456, "1.23e-06"),
        (1.5e12, "1.50e+12"),
        (math.nan, "unknown"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("unit", "values", "shown"),
    [
        ("s", [0.002, 0.02, 3.0], Scale(1000, "ms")),
        ("s", [3e-7, math.nan], Scale(1e6, "µs")),
        ("B", [5e6, 7e6], Scale(1e-6, "MB")),
        ("1", [5.7e6], Scale(1e-6, "millions")),
        ("1", [12], Scale(1, "count")),
        ("1/s", [12345.0], Scale(1, "1/s")),
        ("nat", [1.2], Scale(1, "nat")),
        ("s", [], Scale(1, "s")),
    ],
)
def test_a_column_is_shown_in_the_prefix_of_its_middle_value(unit, values, shown):
    found = scale(unit, values)
    assert found.unit == shown.unit
    assert found.factor == pytest.approx(shown.factor)


def test_a_share_is_shown_in_percent_with_four_digits():
    assert scale("1", [0.9], share=True).text(0.97222) == "97.22"


def test_an_interval_is_written_as_exactly_as_its_value():
    shown = Scale(1000, "ms")
    assert shown.around(0.0099, 0.0098, 0.0099) == "9.90 ±0.10"
    assert shown.around(0.0099, 0.0099, 0.0099) == "9.90"
    assert shown.around(0.0099, -math.inf, math.inf) == "9.90"
    assert shown.around(0.123, 0.1229, 0.1231) == "123 ±0.1"
