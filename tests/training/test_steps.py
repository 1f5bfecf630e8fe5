"""The steps of a training, looked at: that they are those of `train`, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.data import Data
from paretovit.training.loop import Execution, Steps, train
from paretovit.training.recipe import Recipe

STEPS = 6  # of an epoch: 200 digits in batches of 32


def test_they_are_those_that_train_takes(tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe):
    recipe = replace(short, epochs=2)
    result = train(small_spec, few_digits, recipe, out=tmp_path)
    steps = Steps(small_spec, few_digits, recipe)
    for _ in range(2 * STEPS):
        steps.step(lambda _: nullcontext())
    trained = result.module.state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in steps.model.state_dict().items())


def phases(steps: Steps) -> list[str]:
    """Of one step, as they begin; of one that lies in another, behind it: "loss/forward"."""
    under_way: list[str] = []
    found = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        under_way.append(name)
        found.append("/".join(under_way))
        yield
        under_way.pop()

    steps.step(phase)
    return found


def test_a_step_tells_its_phases(small_spec: ModelSpec, few_digits: Data, short: Recipe):
    plain = ["input", "optimizer", "loss", "loss/forward", "backward", "clipping", "optimizer"]
    assert phases(Steps(small_spec, few_digits, short)) == plain
    averaged = replace(short, ema=0.9, accumulate=2)
    part = plain[2:5]
    assert phases(Steps(small_spec, few_digits, averaged)) == [*plain[:2], *part, *part, *plain[5:], "ema"]


def test_they_go_on_epoch_after_epoch(small_spec: ModelSpec, few_digits: Data, short: Recipe):
    steps = Steps(small_spec, few_digits, replace(short, epochs=1))
    for _ in range(2 * STEPS + 1):
        steps.step(lambda _: nullcontext())


def test_conditions_are_those_of_the_times_of_a_run_without_its_seed(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
):
    rows = train(small_spec, few_digits, replace(short, epochs=1), out=tmp_path).rows
    (seconds,) = [row for row in rows if row.indicator == "train_time_s"]
    steps = Steps(small_spec, few_digits, replace(short, epochs=1), threads=1)
    assert steps.conditions == replace(seconds.conditions, seed=None)
    prepared = Steps(small_spec, few_digits, short, execution=Execution(workers=1))
    assert prepared.conditions.assumptions == (("workers", 1),)


def test_what_cannot_be_trained_is_refused(small_spec: ModelSpec, few_digits: Data, short: Recipe, monkeypatch):
    with pytest.raises(UserError, match="threads must be at least 1"):
        Steps(small_spec, few_digits, short, threads=0)
    with pytest.raises(UserError, match="classes"):
        Steps(replace(small_spec, num_classes=3), few_digits, short)
