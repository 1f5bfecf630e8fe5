"""The thesis's claims on sparse layers, on rows made up such that each verdict is known."""

from __future__ import annotations

import pytest

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.papers import claims
from paretovit.training.pruning import Pruning, sparse_name, told

PARENT, POOLED = "vit_6x64_patch4_32", "vit_6x64_patch4_32_pooling_3-4"
WORDS = {PARENT: "parent of 2 epochs", POOLED: "parent of 2 epochs, layers 3-4 by pooling"}


def rows(model: str, recipe: str, *percents: float, split: str = "test") -> list[Measurement]:
    return [
        Measurement(
            model=model,
            indicator="top1",
            unit="1",
            value=percent / 100,
            conditions=Conditions(spec=model, data="cifar10", split=split, recipe=recipe, seed=seed),
            origin=Origin(how="trained"),
        )
        for seed, percent in enumerate(percents)
    ]


def sparse(parent: str, blocks: tuple[int, int] | None, pruned: float, *trained: float, **how) -> list[Measurement]:
    model, pruning = sparse_name(parent, how.get("pattern", "2:4"), blocks), Pruning(**{"pattern": "2:4"} | how)
    begun = told(f"{parent} ({WORDS[parent]})", pruning)
    return rows(model, begun, *(pruned + seed / 10 for seed in range(3))) + rows(
        model, f"after, from {begun}", *trained
    )


def whole(parent: str, before: float, *trained: float) -> list[Measurement]:
    was = rows(parent, WORDS[parent], *(before + seed / 10 for seed in range(3)))
    return was + rows(parent, f"after, from {parent} ({WORDS[parent]})", *trained)


ROWS = [
    *whole(PARENT, 60, 70, 70.2, 70.1),
    *sparse(PARENT, (4, 5), 40, 70, 70.3, 70.1),
    *sparse(PARENT, (2, 5), 40, 65, 65.2, 65.1),
    *sparse(PARENT, (0, 1), 40, 50, 50.2, 50.1),
    *sparse(PARENT, None, 30, 62, 62.2, 62.1),
    *sparse(PARENT, None, 35, 99, 99.2, 99.1, score="wanda"),
    *whole(POOLED, 55, 66, 66.2, 66.1),
    *sparse(POOLED, None, 30, 58, 58.2, 58.1),
]


@pytest.fixture(scope="module")
def verdicts() -> dict[tuple[str, str, str], str]:
    made = claims(ROWS, "vit-optimization-strategies")
    assert all(claim.where == "cifar10, test; parent of 2 epochs, then after" for claim in made)
    found = {(claim.says.split(",")[0], claim.first.model, claim.second.model): claim.said for claim in made}
    assert len(found) == len(made)
    return found


def test_the_last_layers_are_set_beside_the_parent_and_the_parent_trained_as_long(verdicts):
    free, better = (
        "2:4 sparse last layers",
        "Some models with sparse last layers are better than their parents",
    )
    late, later, long = f"{PARENT}_2of4_2-5", f"{PARENT}_2of4_4-5", f"{PARENT}, trained on for as long"
    assert verdicts[free, later, PARENT] == "holds"
    assert verdicts[free, later, long] == "holds (tie)"
    assert verdicts[free, late, long] == "contradicted"
    assert verdicts[better, later, PARENT] == "holds"
    assert verdicts[better, later, long] == "open"
    assert {first for says, first, _ in verdicts if says in (free, better)} == {late, later}


def test_training_after_pruning_is_set_beside_the_weights_as_pruned(verdicts):
    needed = {first: said for (says, first, _), said in verdicts.items() if says == "Training after pruning is needed"}
    names = {f"{PARENT}_2of4{blocks}" for blocks in ("", "_4-5", "_2-5", "_0-1")} | {f"{POOLED}_2of4"}
    assert needed == dict.fromkeys(names, "holds")


def test_losses_of_two_ways_are_added_by_seed(verdicts):
    (said,) = (said for (says, first, _), said in verdicts.items() if says.startswith("Losses by 2:4"))
    made = [claim for claim in claims(ROWS) if claim.says.startswith("Losses")]
    assert made[0].second.values == pytest.approx((58, 58.2, 58.1))  # 66 - (70 - 62), ...
    assert said == "holds (tie)"


def test_images_held_out_of_training_and_other_ways_to_prune_claim_nothing():
    held = [row for score in ("wanda", "magnitude") for row in sparse(PARENT, (4, 5), 40, 1, 2, 3, score=score)]
    assert not claims([*whole(PARENT, 60, 70, 71, 72), *held[:6]])
    watched = [rows(row.model, row.conditions.recipe or "", 1, split="held out of train")[0] for row in held]
    assert not claims(watched)
