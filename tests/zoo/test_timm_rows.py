"""Every timm model of the catalog counts, and comes within 1% of the printed multiply-accumulates or their digits."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paretovit.cost.counting import Count, count
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries
from paretovit.zoo.taxonomy import FAMILIES
from paretovit.zoo.timm_rows import ROWS


def near(ours: float, printed: float | None) -> bool:
    """Within 1%, or equal to the printed digits."""
    if printed is None:
        return True
    last_digit = 10.0 ** int(Decimal(repr(printed)).as_tuple().exponent)
    return abs(ours - printed) <= max(0.01 * printed, last_digit / 2 * 1.0001)


def counted(name: str) -> Count:
    spec = entries()[name].spec
    return count(lambda: build(spec, device="meta"), (1, spec.in_chans, spec.image_px, spec.image_px))


@pytest.mark.parametrize("name", ROWS)
def test_counts_what_is_printed(name: str) -> None:
    row, costs = ROWS[name], counted(name)
    assert costs.macs > 0
    assert near(costs.macs / 1e9, row.published.gmacs), f"{costs.macs / 1e9:.4f}"


def test_the_costs_of_a_model_are_those_at_the_side_it_was_printed_for() -> None:
    assert entries()["efficientnet_b1"].spec.image_px == 240
    assert {entries()[name].spec.image_px for name in ROWS if name.startswith("swinv2")} == {256}


def test_every_row_is_in_the_catalog_under_a_class_of_the_taxonomy() -> None:
    for name, row in ROWS.items():
        assert row.family in FAMILIES, name
        assert entries()[name].family == row.family
        assert bool(row.published.source) == (row.published.top1 is not None or row.published.params_m is not None)
