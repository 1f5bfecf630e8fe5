import pytest

from paretovit.errors import UserError
from paretovit.report.quantities import quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("20ms", "s", 0.02),
        ("0.02", "s", 0.02),
        ("150 us", "s", 150e-6),
        ("2h", "s", 7200),
        ("4GB", "B", 4e9),
        ("4 GiB", "B", 4 * 2**30),
        ("25M", "1", 25e6),
        ("4.6G", "1", 4.6e9),
        ("80%", "1", 0.8),
        (".8", "1", 0.8),
        ("1e-3", "s", 1e-3),
        ("2e3ms", "s", 2.0),
        ("3000img/s", "1/s", 3000),
        ("3k", "1/s", 3000),
        ("1_000", "1", 1000),
        ("-5", "furlong", -5),
        ("5 furlong", "furlong", 5),
    ],
)
def test_reads_numbers_with_and_without_their_unit(text, unit, value):
    assert quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit", "said"),
    [
        ("fast", "s", "not a number; write it like 20ms"),
        ("", "B", "not a number; write it like 4GB"),
        ("20GB", "s", "has the unit 'GB'; here it may be ns, us"),
        ("0,02", "s", "has the unit ',02'"),
        ("1e999", "s", "not a finite number"),
        ("nan", "s", "not a number"),
    ],
)
def test_refuses_what_is_no_number_and_units_of_something_else(text, unit, said):
    with pytest.raises(UserError, match=said):
        quantity(text, unit)
