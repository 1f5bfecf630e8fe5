"""Memory and accuracies that stores and files hold, beside what a paper prints."""

from __future__ import annotations

import pytest

from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.papers._cells import Cell
from paretovit.papers._rows import accuracy_cells, memory_cells, stored_rows
from paretovit.store import Store

MEMORY = Cell(paper="p", table="1", row="ViT", model="vit", cell="gpu_gb", unit="GB", printed=14.1)
TOP1 = Cell(paper="p", table="1", row="ViT", model="vit", cell="top1", unit="%", printed=66.1)
WAYS = {"old": "unfused", "new": "fused"}


def peak(value: float | None, how: str = "measured", *, why: str = "", **conditions) -> Measurement:
    stated = {"spec": "new", "batch_size": 64, "device": "H200", "runtime": "torch_eager", "dtype": "float32"}
    return _row("peak_bytes_train", "B", value, how, why, stated | conditions)


def top1(value: float | None, seed: int, how: str = "trained", **conditions) -> Measurement:
    stated = {"spec": "new", "data": "torch/cifar10", "split": "val", "recipe": "vix", "seed": seed}
    return _row("top1", "1", value, how, "" if value is not None else "failed", stated | conditions)


def _row(indicator: str, unit: str, value: float | None, how: str, why: str, stated: dict) -> Measurement:
    conditions, origin = Conditions(**stated), Origin(how=how)
    return Measurement(
        model="vit", indicator=indicator, unit=unit, value=value, conditions=conditions, origin=origin, why=why
    )


def test_memory_is_shown_in_gb_with_how_and_on_what_it_was_had():
    (cell,) = memory_cells(MEMORY, WAYS, [peak(13.9e9)], batch_size=64)
    assert (cell.ours, cell.verdict) == (13.9, "agrees")
    assert cell.note == "measured, fused: H200, torch_eager, float32"
    assert memory_cells(MEMORY, {"new": ""}, [peak(1e9)], batch_size=64)[0].note.startswith("measured: H200")


@pytest.mark.parametrize(
    ("value", "verdict"), [(12.6e9, "lower"), (12.7e9, "agrees"), (15.5e9, "agrees"), (15.6e9, "higher")]
)
def test_memories_within_a_tenth_agree(value, verdict):
    assert memory_cells(MEMORY, WAYS, [peak(value)], batch_size=64)[0].verdict == verdict


def test_measured_memories_come_before_predicted_ones_and_the_papers_way_first():
    rows = [peak(1e9, "predicted", device="any"), peak(2e9), peak(3e9, spec="old")]
    assert [cell.ours for cell in memory_cells(MEMORY, WAYS, rows, batch_size=64)] == [3, 2, 1]


def test_memory_of_another_batch_size_model_or_indicator_is_not_taken():
    rows = [peak(1e9, batch_size=32), peak(1e9, spec="other"), peak(1e9, "published"), top1(0.5, 0)]
    (cell,) = memory_cells(MEMORY, WAYS, rows, batch_size=64)
    assert (cell.ours, cell.verdict) == (None, "missing")
    assert "`paretovit measure vit -b 64 --indicator peak_bytes_train`" in cell.note


def test_memory_that_could_not_be_had_says_why_and_shows_no_number():
    (cell,) = memory_cells(MEMORY, WAYS, [peak(None, why="ran out of memory")], batch_size=64)
    assert (cell.ours, cell.verdict) == (None, "missing")
    assert cell.note.endswith("float32: ran out of memory")


def test_a_row_that_two_files_hold_is_one_cell():
    assert len(memory_cells(MEMORY, WAYS, [peak(1e9), peak(1e9)], batch_size=64)) == 1


def test_a_prediction_for_a_device_does_not_hide_what_was_measured_on_it():
    rows = [peak(1e9), peak(2e9, "predicted")]
    assert [cell.ours for cell in memory_cells(MEMORY, WAYS, rows, batch_size=64)] == [1, 2]


def test_accuracy_is_the_mean_over_seeds_in_percent_with_its_standard_deviation():
    (cell,) = accuracy_cells(TOP1, "new", [top1(0.70, 0), top1(0.71, 1), top1(0.72, 2)], data="CIFAR-10")
    assert cell.ours == pytest.approx(71)
    assert cell.spread == pytest.approx(1)
    assert cell.note == "trained: vix; torch/cifar10, val; 3 seeds, mean ± s.d."


@pytest.mark.parametrize(("printed", "verdict"), [(66.04, "agrees"), (66.02, "higher"), (75.98, "lower")])
def test_accuracies_agree_where_another_seed_may_well_give_the_printed_one(printed, verdict):
    # Student's t for 95% and 2 degrees of freedom is 4.3027; times the root of 1 + 1/3 that is 4.9683
    rows = [top1(0.70, 0), top1(0.71, 1), top1(0.72, 2)]
    cell = Cell(paper="p", table="1", row="ViT", model="vit", cell="top1", unit="%", printed=printed)
    assert accuracy_cells(cell, "new", rows, data="CIFAR-10")[0].verdict == verdict


def test_one_seed_has_no_spread_and_gets_no_verdict():
    (cell,) = accuracy_cells(TOP1, "new", [top1(0.661, 0)], data="CIFAR-10")
    assert (cell.ours, cell.spread, cell.verdict) == (pytest.approx(66.1), None, "open")


def test_recipes_and_splits_are_not_mixed():
    rows = [top1(0.5, 0), top1(0.6, 0, recipe="demo"), top1(0.7, 0, split="test")]
    assert [cell.ours for cell in accuracy_cells(TOP1, "new", rows, data="CIFAR-10")] == pytest.approx([50, 60, 70])


def test_accuracy_on_other_data_of_another_model_or_read_elsewhere_is_not_ours():
    rows = [
        top1(0.5, 0, data="torch/svhn"),
        top1(0.5, 0, spec="other"),
        top1(0.5, 0, how="published"),
        top1(None, 0),
        peak(1e9),
    ]
    (cell,) = accuracy_cells(TOP1, "new", rows, data="CIFAR-10")
    assert (cell.ours, cell.verdict) == (None, "missing")
    assert "not trained on CIFAR-10" in cell.note


def test_rows_come_from_a_store_and_from_files_and_the_default_store_may_be_absent(tmp_path):
    path, lines = tmp_path / "rows.sqlite", tmp_path / "rows.jsonl"
    with Store(path) as store:
        store.append([top1(0.5, 0)])
        store.export_lines(lines)
    assert stored_rows(str(path)) == [top1(0.5, 0)]
    assert stored_rows("none.sqlite", [lines], default="none.sqlite") == [top1(0.5, 0)]
    with pytest.raises(UserError, match="there is no store"):
        stored_rows("none.sqlite", default="other.sqlite")
    with pytest.raises(UserError, match=r"nothing\.jsonl"):
        stored_rows(str(path), [tmp_path / "nothing.jsonl"])
