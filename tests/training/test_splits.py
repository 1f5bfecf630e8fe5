from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.data import Data, Images
from paretovit.training.loop import train
from paretovit.training.recipe import DEMO, Recipe
from paretovit.training.rows import HELD_OUT
from paretovit.training.splits import split

# image number i is of class i % 3 and has only the value i
IMAGES = Images(
    name="toy",
    split="train",
    pixels=torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1),
    labels=torch.arange(30) % 3,
    class_names=("a", "b", "c"),
    mean=(0.0,),
    std=(1.0,),
)


def numbers(images: Images) -> list[int]:
    return images.pixels.flatten().tolist()


def test_all_images_are_trained_on_unless_the_recipe_says_otherwise() -> None:
    trained, held = split(IMAGES, DEMO)
    assert trained is IMAGES
    assert held is None


def test_a_subset_has_the_first_images_of_every_class_whatever_the_seed() -> None:
    for seed in range(3):
        trained, _ = split(IMAGES, replace(DEMO, train_images=12, seed=seed))
        assert numbers(trained) == list(range(12))
    uneven = replace(IMAGES, labels=torch.tensor([0] * 20 + [1] * 5 + [2] * 5))
    trained, _ = split(uneven, replace(DEMO, train_images=9))
    assert numbers(trained) == [0, 1, 2, 20, 21, 22, 25, 26, 27]


def test_held_out_images_are_of_every_class_and_are_not_trained_on() -> None:
    trained, held = split(IMAGES, replace(DEMO, held_out=0.2))
    assert held is not None
    assert sorted(numbers(trained) + numbers(held)) == list(range(30))
    assert torch.bincount(held.labels).tolist() == [2, 2, 2]
    assert (trained.split, held.split) == ("train", HELD_OUT)


def test_the_seed_decides_what_is_held_out() -> None:
    def held(seed: int) -> list[int]:
        images = split(IMAGES, replace(DEMO, held_out=0.2, seed=seed))[1]
        assert images is not None
        return numbers(images)

    assert held(1) == held(1)
    assert held(1) != held(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"train_images": 31}, "30 training images, not 31"), ({"held_out": 0.01}, "no images to judge")],
)
def test_more_than_there_is_and_less_than_one_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(IMAGES, replace(DEMO, **changes))  # type: ignore[arg-type]


def test_a_run_that_holds_images_out_reports_both_and_looks_at_the_test_images_once(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
) -> None:
    recipe = replace(short, held_out=0.25)
    result = train(small_spec, few_digits, recipe, out=tmp_path)
    top1 = [row for row in result.rows if row.indicator == "top1"]
    assert [row.conditions.split for row in top1] == [HELD_OUT, "val"]
    assert [row.origin.timing["images"] for row in top1] == [200 - 150, 60]
    assert len(top1[0].origin.timing["curve"]) == recipe.epochs
    assert "curve" not in top1[1].origin.timing
    again = train(small_spec, few_digits, recipe, out=tmp_path)
    assert [row.value for row in again.rows] == [row.value for row in result.rows]


def test_the_best_epoch_is_reported_where_the_recipe_picks_it(
    tmp_path: Path, small_spec: ModelSpec, few_digits: Data, short: Recipe
) -> None:
    runs = {
        pick: train(small_spec, few_digits, replace(short, pick=pick), out=tmp_path / pick) for pick in ("last", "best")
    }
    curve = [accuracy for _, accuracy in runs["last"].rows[0].origin.timing["curve"]]
    assert runs["last"].rows[0].value == curve[-1]
    assert runs["best"].rows[0].value == max(curve)


def test_a_recipe_that_holds_images_out_cannot_pick_the_best_epoch_on_the_test_images() -> None:
    with pytest.raises(UserError, match="pick must be last, or best without held_out"):
        replace(DEMO, held_out=0.1, pick="best")
