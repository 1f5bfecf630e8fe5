from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paretovit.devices import device_name
from paretovit.measurement import Origin
from paretovit.spec import ModelSpec
from paretovit.training.data import Images
from paretovit.training.evaluate import Score
from paretovit.training.recipe import DEMO
from paretovit.training.rows import QUALITIES, Epoch, training_rows

VAL = Images(
    name="toy",
    split="val",
    pixels=torch.zeros(8, 1, 2, 2, dtype=torch.uint8),
    labels=torch.zeros(8, dtype=torch.int64),
    class_names=tuple("abcdefgh"),
    mean=(0.0,),
    std=(1.0,),
)
RECIPE = replace(DEMO, batch_size=16, seed=5)
MADE = Origin(how="trained", time="2026-01-01T00:00:00+00:00")


def epoch(number: int, *, loss: float, seconds: float, hits1: int) -> Epoch:
    scored = Score(images=8, hits1=hits1, hits5=8, loss=1.0, seconds=0.5)
    return Epoch(number=number, loss=loss, seconds=seconds, images=100, score=scored)


EPOCHS = [
    epoch(1, loss=2.0, seconds=3.0, hits1=2),
    epoch(2, loss=1.5, seconds=1.0, hits1=7),
    epoch(3, loss=1.0, seconds=1.5, hits1=6),
]


@pytest.fixture
def rows(small_spec: ModelSpec):
    made = training_rows(small_spec, VAL, RECIPE, EPOCHS, device="cpu", threads=2, made=MADE)
    return {row.indicator: row for row in made}


def test_values_are_those_after_the_last_epoch_and_costs_are_those_of_all(rows):
    assert {name: row.value for name, row in rows.items()} == {
        "top1": 0.75,  # not the best one, 7 of 8
        "top5": 1.0,
        "train_loss": 1.0,
        "images_seen": 300,
        "train_time_s": 5.5,
        "train_epoch_s": 1.5,
    }
    assert rows["train_epoch_s"].samples == (3.0, 1.0, 1.5)


def test_units_are_those_that_are_declared(rows):
    declared = {name: unit for name, (_, unit, _) in QUALITIES.items()}
    del declared["train_peak_bytes"]  # no allocator counts on a CPU
    del declared["train_run_energy_j"]  # was not asked for
    del declared["ece"], declared["top1_drop"]  # are of an evaluation
    for name in ("ap", "ap50", "ap75", "detection_loss"):
        del declared[name]  # are a detector's
    assert {name: row.unit for name, row in rows.items()} == declared


def test_the_curve_is_kept_with_the_accuracy(rows):
    assert rows["top1"].origin.timing["curve"] == [[1, 0.25], [2, 0.875], [3, 0.75]]
    assert "curve" not in rows["top5"].origin.timing


def test_only_times_depend_on_the_machine(rows):
    on_the_machine = {name for name, row in rows.items() if row.conditions.device is not None}
    assert on_the_machine == {"train_time_s", "train_epoch_s"}
    timed = rows["train_time_s"].conditions
    assert (timed.device, timed.threads, timed.batch_size) == (device_name("cpu"), 2, 16)


def test_each_row_names_its_split_recipe_and_seed(rows):
    splits = {name: row.conditions.split for name, row in rows.items()}
    assert splits.pop("top1") == splits.pop("top5") == "val"
    assert set(splits.values()) == {"train"}
    assert {(row.conditions.recipe, row.conditions.seed) for row in rows.values()} == {("demo, batch_size=16", 5)}


def test_training_on_made_up_images_yields_costs_and_no_quality(small_spec: ModelSpec):
    rows = training_rows(small_spec, replace(VAL, real=False), RECIPE, EPOCHS, device="cpu", threads=2, made=MADE)
    assert [row.indicator for row in rows] == ["images_seen", "train_time_s", "train_epoch_s"]
