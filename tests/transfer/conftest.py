"""A detector, pictures with objects and a recipe small enough to train in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pytest
import torch

from paretovit.spec import ModelSpec, Stage
from paretovit.training.recipe import Recipe
from paretovit.transfer.detector import detector_spec
from paretovit.transfer.scenes import Scenes, open_scenes

PX = 32
HEAD = ("queries=5", "width=32", "layers=2", "heads=2", "hidden=32", "points=2")


@dataclass(frozen=True)
class FewScenes:
    """The first 20 scenes to train on and 10 to judge by, of pasted digits."""

    @cached_property
    def train(self) -> Scenes:
        return open_scenes("pasted/digits", img_size=PX).train.part(torch.arange(20))

    @cached_property
    def val(self) -> Scenes:
        return open_scenes("pasted/digits", img_size=PX).val.part(torch.arange(10))


@pytest.fixture(scope="session")
def few_scenes() -> FewScenes:
    return FewScenes()


@pytest.fixture
def backbone() -> ModelSpec:
    return ModelSpec(
        name="small", stages=(Stage(depth=2, dim=32, heads=2),), image_px=PX, patch_px=8, in_chans=1, num_classes=10
    )


@pytest.fixture
def detector(backbone: ModelSpec) -> ModelSpec:
    return detector_spec(backbone, 10, HEAD)


@pytest.fixture
def short() -> Recipe:
    """Everything random is on, so that a resumed run has something to get wrong."""
    return Recipe(name="short", epochs=2, batch_size=4, lr=1e-3, clip_grad=0.1, drop_path=0.3, hflip=True)


@pytest.fixture(autouse=True)
def all_on_one_thread(one_thread: None) -> None:
    """Small batches gain nothing from more, and sums come out alike on every machine."""
