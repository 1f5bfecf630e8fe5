"""A model, a data set and a recipe small enough to train in a second."""

from __future__ import annotations

import pytest
from few_digits import few_digits

from paretovit.spec import ModelSpec, Stage
from paretovit.training.data import Data
from paretovit.training.recipe import Recipe


@pytest.fixture
def small_spec() -> ModelSpec:
    return ModelSpec(
        name="small", stages=(Stage(depth=2, dim=32, heads=2),), image_px=8, patch_px=4, in_chans=1, num_classes=10
    )


@pytest.fixture(scope="session", name="few_digits")
def the_few_digits() -> Data:
    return few_digits(200, 60)


@pytest.fixture
def short() -> Recipe:
    """Everything random is on, so that a resumed run has something to get wrong."""
    return Recipe(
        name="short",
        epochs=3,
        batch_size=32,
        lr=3e-3,
        warmup_epochs=1,
        clip_grad=1.0,
        label_smoothing=0.1,
        drop_path=0.3,
        crop_padding=1,
    )


@pytest.fixture(autouse=True)
def all_on_one_thread(one_thread: None) -> None:
    """Small batches gain nothing from more, and sums come out alike on every machine."""
