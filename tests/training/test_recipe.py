from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from paretovit.errors import UserError
from paretovit.training.recipe import DEMO, RECIPES, lr_at, with_changes


def test_a_change_is_read_by_the_type_of_its_field():
    changed = with_changes(
        DEMO,
        ["lr=0.002", "epochs = 7", "clip_grad=none", "hflip=yes", "betas=0.8,0.9", "aux_weights=a:0.5,b:2", "opt=lamb"],
    )
    assert (changed.lr, changed.epochs, changed.clip_grad, changed.hflip) == (0.002, 7, None, True)
    assert (changed.betas, changed.aux_weights, changed.opt) == ((0.8, 0.9), (("a", 0.5), ("b", 2.0)), "lamb")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("epoch=3", "did you mean epochs"),
        ("name=mine", "unknown recipe field 'name'"),
        ("epochs", "field=value"),
        ("epochs=3.5", "epochs=10"),
        ("lr=fast", "lr=0.1"),
        ("hflip=maybe", "hflip=true"),
        ("betas=0.9", "betas=0.9,0.999"),
        ("aux_weights=balance", "aux_weights=name:0.01"),
        ("epochs=0", "epochs must be at least 1"),
        ("batch_size=-1", "batch_size must be at least 1"),
        ("lr=0", "lr must be above 0"),
        ("lr=nan", "lr must be above 0"),
        ("min_lr=5", "min_lr must be from 0 to lr"),
        ("betas=0.9,1", "betas must be"),
        ("weight_decay=-0.1", "weight_decay must be 0 or more"),
        ("warmup_epochs=1000", "warmup_epochs must be from 0 to epochs"),
        ("clip_grad=0", "clip_grad must be above 0, or none"),
        ("label_smoothing=1", "label_smoothing must be from 0 to below 1"),
        ("drop_path=-0.1", "drop_path must be from 0 to below 1"),
        ("aux_weights=a:-1", "aux_weights must be 0 or more"),
        ("crop_padding=-1", "crop_padding must be 0 or more"),
        ("seed=-1", "seed must be from 0"),
    ],
)
def test_a_wrong_change_is_refused_with_the_mend(change: str, says: str):
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        with_changes(DEMO, [change])
    assert says in str(caught.value)


def test_the_label_names_what_was_changed_and_not_the_seed():
    assert DEMO.label == "demo"
    assert with_changes(DEMO, ["seed=3"]).label == "demo"
    assert with_changes(DEMO, ["hflip=true", "lr=0.25", "seed=3"]).label == "demo, lr=0.25, hflip=true"


def test_the_label_can_be_typed_again():
    changed = with_changes(DEMO, ["clip_grad=none", "betas=0.5,0.25", "aux_weights=a:0.5", "epochs=9"])
    assert with_changes(DEMO, changed.label.split(", ")[1:]) == changed


def test_recipes_with_equal_json_train_alike():
    assert json.loads(json.dumps(DEMO.to_json())) == DEMO.to_json()
    assert replace(DEMO, source="elsewhere").to_json() == DEMO.to_json()
    assert replace(DEMO, lr=DEMO.lr / 2).to_json() != DEMO.to_json()


def test_the_rate_climbs_in_a_line_and_falls_as_half_a_cosine():
    recipe = replace(DEMO, epochs=3, lr=1.0, warmup_epochs=1, min_lr=0.0)
    rates = [lr_at(recipe, step, 4) for step in range(12)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[8] == pytest.approx(0.5)  # 4 of the 8 steps after the warm-up
    assert rates[11] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)


def test_without_warm_up_the_first_rate_is_the_full_one_and_the_last_is_near_the_least():
    recipe = replace(DEMO, epochs=2, lr=1.0, warmup_epochs=0, min_lr=0.1)
    assert lr_at(recipe, 0, 500) == 1.0
    assert lr_at(recipe, 999, 500) == pytest.approx(0.1, abs=1e-5)


def test_a_constant_rate_stays_after_the_warm_up():
    recipe = replace(DEMO, epochs=3, lr=1.0, warmup_epochs=1, schedule="constant")
    assert [lr_at(recipe, step, 4) for step in (0, 3, 4, 11)] == [0.25, 1.0, 1.0, 1.0]
    with pytest.raises(UserError, match="schedule must be cosine, constant or step, got line"):
        replace(DEMO, schedule="line")


def test_a_rate_in_steps_falls_to_a_tenth_when_a_fifth_of_the_epochs_is_left():
    recipe = replace(DEMO, epochs=5, lr=1.0, warmup_epochs=1, schedule="step")
    rates = [lr_at(recipe, step, 4) for step in range(20)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0] + 12 * [1.0] + 4 * [0.1])


def test_a_number_of_images_may_be_none():
    assert with_changes(DEMO, ["train_images=500"]).train_images == 500
    assert with_changes(DEMO, ["train_images=500", "train_images=none"]).train_images is None


def test_every_recipe_is_kept_under_its_name_and_says_where_it_comes_from():
    assert all(name == recipe.name and recipe.source for name, recipe in RECIPES.items())


def test_recipes_and_rows_are_read_without_torch():
    code = "import sys, paretovit.training.recipe, paretovit.training.rows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
