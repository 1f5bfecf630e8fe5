"""Words of pruned models: what is written is read."""

from __future__ import annotations

import itertools

from paretovit.training.pruning import Pruning, of_name, sparse_name, told, tried

PARENT = "vit_pico (demo, epochs=2, from demo at 8 px (1234abcd))"


def test_every_way_to_prune_is_read_as_it_was_written():
    for pattern, score, reordered, gradual in itertools.product(
        ("2:4", "1:4"), ("magnitude", "wanda"), (False, True), (False, True)
    ):
        pruning = Pruning(pattern=pattern, score=score, reordered=reordered, gradual=gradual)
        for recipe in (None, "demo", "demo, lr=0.1, betas=0.9,0.99"):
            said = told(PARENT, pruning)
            found = tried(said if recipe is None else f"{recipe}, from {said}")
            assert found is not None
            assert (found.parent, found.pruning, found.recipe) == (PARENT, pruning, recipe)


def test_other_recipes_say_nothing_of_pruning():
    for recipe in (None, "", "demo", "demo, from vit_pico (demo) with layers 0-1 by pooling", PARENT):
        assert tried(recipe) is None


def test_a_sparse_models_name_says_its_blocks():
    assert sparse_name("vit_2of4", "1:4", (4, 11)) == "vit_2of4_1of4_4-11"
    assert of_name("vit_2of4_1of4_4-11") == ("vit_2of4", (4, 11))
    assert of_name("vit_pooling_3-4_2of4") == ("vit_pooling_3-4", None)
    assert of_name("vit_pooling_3-4") is None
