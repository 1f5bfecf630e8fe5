"""Replaced layers in the words of rows: what one file writes is read back as it was meant."""

from __future__ import annotations

import pytest

from paretovit.optimize.distil import Distil
from paretovit.optimize.replacement import Plan
from paretovit.spec import Part
from paretovit.training.replacing import Tried, cut_name, told, tried, without_hashes

LABEL = "demo, epochs=5, held_out=0.1, from demo, epochs=10 at 32 px (8d1378ce)"
HOW = "demo, epochs=5, held_out=0.1, from demo, epochs=10 at 32 px"
FOCAL = Plan(layers=((3, 4),), mixer=Part("focal"))
BASE = Tried(parent="vit_6x64", how=HOW, recipe="demo, mixup=0.2", stages=(("3-4", "focal"),), shape="", alpha=0.35,
             loss="mean_mse")  # fmt: skip


def read(plan: Plan, distil: Distil, label: str = LABEL) -> Tried | None:
    return tried(f"demo, mixup=0.2, from {told('vit_6x64', label, '4ee86bea', str(plan), str(distil))}")


def test_the_plain_case_is_read_in_full() -> None:
    assert read(FOCAL, Distil()) == BASE
    assert (BASE.where, BASE.mixer, BASE.span, str(BASE)) == ("3-4", "focal", (3, 4), "focal 3-4")


@pytest.mark.parametrize(
    ("plan", "stages", "shape"),
    [
        (Plan(layers=((3, 3),), mixer=Part("attention"), class_tokens="among"), (("3", "attention"),),
         ", class token among"),
        (Plan(layers=((0, 1), (4, 4)), mixer=Part("pooling"), depth=3), (("0-1, 4", "pooling"),), " of depth 3"),
        (Plan(layers=((3, 4),), mixer=Part("focal"), depth=3, width=48), (("3-4", "focal"),),
         " of depth 3 of width 48"),
        (Plan(layers=((0, 1), (4, 4)), mixer=(Part("pooling"), Part("focal")), embed=True, class_tokens="mixed"),
         (("0-1", "pooling"), ("4", "focal")), " behind a convolution, class token mixed in"),
        (Plan(layers=((0, 0), (2, 2)), mixer=Part.of("shifted_window", window=4, shift=2)),
         (("0, 2", "shifted_window(shift=2, window=4)"),), ""),
    ],
)  # fmt: skip
def test_stages_and_their_shape_are_told_apart(plan: Plan, stages: tuple[tuple[str, str], ...], shape: str) -> None:
    found = read(plan, Distil())
    assert found is not None
    assert (found.stages, found.shape, found.loss) == (stages, shape, "mean_mse")


@pytest.mark.parametrize(
    ("distil", "alpha", "loss", "more", "start"),
    [
        (Distil(alpha=0.0), 0.0, "mean_mse", "", 0.0),
        (Distil(alpha=0.5, loss="ce", schedule="linear"), 0.5, "ce", ", falling to 0", 0.0),
        (Distil(alpha=1.0, match="logits", tau=2.5), 1.0, "logits at temperature 2.5", "", 0.0),
        (Distil(alpha=1.0, loss="mse", random=1.0, start=0.25), 1.0, "mse", ", 100% noise", 0.25),
        (Distil(alpha=1e-5), 1e-5, "mean_mse", "", 0.0),
    ],
)
def test_the_distillation_is_read(distil: Distil, alpha: float, loss: str, more: str, start: float) -> None:
    found = read(FOCAL, distil)
    assert found is not None
    assert (found.alpha, found.loss, found.more, found.start) == (alpha, loss, more, start)
    assert found.stages == BASE.stages


def test_parents_of_several_seeds_differ_in_hashes_alone() -> None:
    other = LABEL.replace("8d1378ce", "00000001")
    assert read(FOCAL, Distil(), other) == BASE
    assert without_hashes(LABEL) == without_hashes(other) == HOW
    assert without_hashes("demo, train_images=12345678") == "demo, train_images=12345678"


def test_other_recipes_are_of_something_else() -> None:
    for recipe in (None, "", "demo, epochs=5", LABEL, "demo, from vit (demo) pruned to 2:4 by magnitude"):
        assert tried(recipe) is None
    assert BASE.span == (3, 4)
    assert Tried(**vars(BASE) | {"stages": (("0-1, 4", "focal"),)}).span is None
    assert cut_name("vit", 4, 5) == "vit_without_4-5"
