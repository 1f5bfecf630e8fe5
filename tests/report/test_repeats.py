"""Runs from several seeds as one column, wherever the report shows them."""

from __future__ import annotations

import pytest

from paretovit.analysis.intervals import interval
from paretovit.analysis.seeds import mean_interval
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.headings import sheet_of, slug
from paretovit.report.repeats import over_seeds
from paretovit.report.verdict import verdict
from paretovit.store import arrange
from paretovit.training.rows import HELD_OUT


def top1(model: str, value: float, seed: int | None, split: str = "test", **conditions) -> Measurement:
    return Measurement(
        model=model,
        indicator="top1",
        unit="1",
        value=value,
        samples=(value,),
        conditions=Conditions(spec=model, split=split, seed=seed, **conditions),
        origin=Origin(how="trained", timing={"interval_95": [value - 0.01, value + 0.01]}),
    )


def params(model: str, value: float) -> Measurement:
    return Measurement(
        model=model,
        indicator="params",
        unit="1",
        value=value,
        conditions=Conditions(spec=model),
        origin=Origin(how="counted"),
    )


THREE = [top1("a", 0.50 + 0.02 * seed, seed) for seed in range(3)]


def test_three_seeds_are_one_column_with_mean_and_students_interval():
    sheet = sheet_of(arrange([*THREE, top1("b", 0.7, 0)]))
    (heading,) = sheet.qualities
    assert sheet.values(heading) == [pytest.approx(0.52), 0.7]
    assert sheet.intervals(heading)[0] == pytest.approx(mean_interval([0.50, 0.52, 0.54]))
    assert sheet.intervals(heading)[1] == pytest.approx((0.69, 0.71))  # a single seed: that of its images
    assert heading.title == "top-1 accuracy, mean of 1 to 3 seeds"


def test_the_number_of_seeds_is_said_where_all_models_have_as_many():
    (heading,) = sheet_of(arrange(THREE)).qualities
    assert heading.title == "top-1 accuracy, mean of 3 seeds"


def test_runs_that_differ_in_more_than_their_seed_stay_apart():
    rows = [*THREE, *(top1("a", 0.8, seed, recipe="other") for seed in (0, 1))]
    assert len(sheet_of(arrange(rows)).qualities) == 2
    assert len(over_seeds(arrange([*THREE, top1("a", 0.6, 0, data="digits")])).columns) == 2


def test_a_table_without_repeats_is_left_as_it_is():
    table = arrange([top1("a", 0.5, 0), top1("b", 0.5, 0), params("a", 1)])
    assert over_seeds(table) is table
    assert sheet_of(table).qualities[0].title == "top-1 accuracy"


def test_a_value_without_a_seed_counts_only_for_a_model_that_has_no_other():
    table = over_seeds(arrange([*THREE, top1("a", 0.9, None), top1("b", 0.9, None)]))
    (column,) = table.columns
    assert table.values(column) == [pytest.approx(0.52), 0.9]


def test_images_held_out_of_training_compete_with_no_reported_split():
    rows = [row for seed in range(2) for row in (top1("a", 0.4, seed, HELD_OUT), top1("a", 0.5 + seed / 100, seed))]
    sheet = sheet_of(arrange(rows))
    assert [h.title for h in sheet.qualities] == ["top-1 accuracy, mean of 2 seeds"]
    assert slug(sheet, sheet.qualities[0]) == "top1"
    assert HELD_OUT in next(h.title for h in sheet.headings if not h.is_quality)
    assert not sheet.costs


def test_images_held_out_of_training_count_where_no_other_split_was_seen():
    assert len(sheet_of(arrange([top1("a", 0.4, 0, HELD_OUT)])).qualities) == 1


def test_the_verdict_compares_means():
    # the worst run of b is below every run of a, its mean above
    b = [top1("b", value, seed) for seed, value in enumerate((0.3, 0.9, 0.9))]
    sentence = verdict(sheet_of(arrange([*THREE, *b, params("a", 2), params("b", 1)])))
    assert "1 of 2 models is Pareto-optimal for top-1 accuracy, mean of 3 seeds × parameters: b" in sentence


def test_the_pooled_interval_is_what_every_reader_of_the_row_gets():
    table = over_seeds(arrange(THREE))
    (row,) = table.measurements(table.columns[0])
    assert row is not None
    assert interval(row) == pytest.approx(mean_interval([0.50, 0.52, 0.54]))


def begun(value: float, seed: int, weights: str, **conditions) -> Measurement:
    return top1("a", value, seed, recipe=f"demo, from demo at 32 px ({weights})", **conditions)


def test_seeds_whose_parents_differ_in_their_weights_alone_are_one_column():
    sheet = sheet_of(arrange([begun(0.5, 0, "0123abcd"), begun(0.6, 1, "4567cdef")]))
    (heading,) = sheet.qualities
    assert sheet.values(heading) == [pytest.approx(0.55)]
    assert heading.column.conditions.recipe == "demo, from demo at 32 px"


def test_two_parents_of_one_seed_stay_apart():
    rows = [begun(0.5, 0, "0123abcd"), begun(0.6, 0, "4567cdef"), begun(0.7, 1, "0123abcd")]
    recipes = [column.conditions.recipe for column in over_seeds(arrange(rows)).columns]
    assert recipes == [f"demo, from demo at 32 px ({weights})" for weights in ("0123abcd", "4567cdef")]
