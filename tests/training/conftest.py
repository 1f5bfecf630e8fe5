"""A model, a data set and a recipe small enough to train in a second."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paretovit.spec import ModelSpec, Stage
from paretovit.training.data import Data, Images, Source
from paretovit.training.data.digits import Digits
from paretovit.training.recipe import Recipe


class FewDigits(Source):
    """The first 200 training and 60 validation digits."""

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        images = Digits().read(path, split, img_size=img_size, in_chans=in_chans)
        count = 200 if split == "train" else 60
        return replace(images, pixels=images.pixels[:count], labels=images.labels[:count])


@pytest.fixture
def small_spec() -> ModelSpec:
    return ModelSpec(
        name="small", stages=(Stage(depth=2, dim=32, heads=2),), image_px=8, patch_px=4, in_chans=1, num_classes=10
    )


@pytest.fixture(scope="session")
def few_digits() -> Data:
    return Data(FewDigits(), "", None, None)


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
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
