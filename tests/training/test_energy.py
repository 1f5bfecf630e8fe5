"""Energy of a run: what a meter counts during the steps, or a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paretovit.measurement import Measurement
from paretovit.training.energy import Energy
from paretovit.training.loop import Execution, train
from paretovit.training.progress import Tick


class Counting:
    """One more joule at every reading."""

    source = "counted readings"

    def __init__(self) -> None:
        self.count = 0

    def joules(self) -> float:
        self.count += 1
        return float(self.count)


def counted(**stated: float) -> Execution:
    return Execution(energy=Energy(meter=Counting(), stated=tuple(stated.items())))


def energy_rows(rows: list[Measurement]) -> list[Measurement]:
    return [row for row in rows if row.indicator == "train_run_energy_j"]


def stop_at(step: int):
    def watch(tick: Tick) -> None:
        if tick.done == step:
            raise KeyboardInterrupt

    return watch


def test_the_steps_of_all_epochs_are_metered_and_nothing_else(tmp_path: Path, small_spec, few_digits, short):
    [row] = energy_rows(train(small_spec, few_digits, short, out=tmp_path, execution=counted(watts=30)).rows)
    assert row.value == 18  # a reading more after each of 3 epochs' 6 steps; the one before each epoch is no step's
    assert dict(row.conditions.assumptions) == {"energy": "counted readings", "watts": 30}
    assert (row.unit, row.conditions.device is not None) == ("J", True)


def test_a_run_that_was_stopped_counts_on(tmp_path: Path, small_spec, few_digits, short):
    with pytest.raises(KeyboardInterrupt):
        train(small_spec, few_digits, short, out=tmp_path, execution=counted(), progress=stop_at(10))
    [row] = energy_rows(train(small_spec, few_digits, short, out=tmp_path, execution=counted()).rows)
    assert row.value == 18


@pytest.mark.parametrize("first", [None, {"watts": 20.0}])
def test_a_run_that_was_not_metered_alike_says_so(tmp_path: Path, small_spec, few_digits, short, first):
    before = Execution() if first is None else counted(**first)
    with pytest.raises(KeyboardInterrupt):
        train(small_spec, few_digits, short, out=tmp_path, execution=before, progress=stop_at(10))
    [row] = energy_rows(train(small_spec, few_digits, short, out=tmp_path, execution=counted(watts=30)).rows)
    assert row.value is None
    assert row.why == "only 1 of 3 epochs were metered so (counted readings, watts=30)"


def test_without_a_meter_there_is_a_reason_and_without_the_question_no_row(
    tmp_path: Path, small_spec, few_digits, short
):
    one = replace(short, epochs=1)
    unread = Execution(energy=Energy(meter=None, why="nothing to read"))
    [row] = energy_rows(train(small_spec, few_digits, one, out=tmp_path / "a", execution=unread).rows)
    assert (row.value, row.why, row.conditions.assumptions) == (None, "nothing to read", ())
    assert energy_rows(train(small_spec, few_digits, one, out=tmp_path / "b").rows) == []
