"""The closed formulas, held equal to the operator counter on models that are really built (on meta tensors)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paretovit.cost.counting import Count, count
from paretovit.cost.formulas import figure8_grid, vit_counts
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build

GRID = figure8_grid()
SIZE = len(GRID["depth"])
BASE = {"depth": 12, "heads": 12, "head_dim": 64, "mlp_ratio": 4, "image_px": 224, "patch_px": 16}


def configuration(index: int) -> dict[str, int]:
    return {name: int(values[index]) for name, values in GRID.items()}


def counted(sizes: dict[str, Any], *, num_classes: int = 1000, in_chans: int = 3, class_token: bool = True) -> Count:
    stage = Stage(
        depth=sizes["depth"],
        dim=sizes["heads"] * sizes["head_dim"],
        heads=sizes["heads"],
        mlp=Part.of("mlp", ratio=sizes["mlp_ratio"]),
    )
    spec = ModelSpec(
        name="plain",
        stages=(stage,),
        readout=Part("class_token" if class_token else "mean"),
        image_px=sizes["image_px"],
        patch_px=sizes["patch_px"],
        in_chans=in_chans,
        num_classes=num_classes,
    )
    return count(lambda: build(spec, device="meta"), (1, in_chans, spec.image_px, spec.image_px))


def assert_agree(formulas: dict[str, np.ndarray], count: Count, index: int | tuple = ()) -> None:
    assert {name: int(values[index]) for name, values in formulas.items()} == {
        name: getattr(count, name) for name in ("params", "macs", "elementwise_ops", "activations", "bytes_moved")
    }


# 27 of the 2,700, evenly spread: neighbours differ in every axis
@pytest.mark.parametrize("index", np.linspace(0, SIZE - 1, 27, dtype=int).tolist())
def test_formulas_equal_the_operator_counter(index: int) -> None:
    assert_agree(vit_counts(**GRID), counted(configuration(index)), index)


@pytest.mark.slow
def test_formulas_equal_the_operator_counter_on_the_whole_grid() -> None:
    formulas = vit_counts(**GRID)
    for index in range(SIZE):
        assert_agree(formulas, counted(configuration(index)), index)


@pytest.mark.parametrize("num_classes", [0, 7])
@pytest.mark.parametrize("class_token", [True, False])
def test_formulas_know_heads_channels_and_read_outs(num_classes: int, class_token: bool) -> None:
    sizes = {"depth": 2, "heads": 3, "head_dim": 8, "mlp_ratio": 2.5, "image_px": 32, "patch_px": 8}
    options = {"num_classes": num_classes, "in_chans": 1, "class_token": class_token}
    assert_agree(vit_counts(**sizes, **options), counted(sizes, **options))


def test_vit_base_has_the_known_size() -> None:
    base = vit_counts(**BASE)
    assert int(base["params"]) == 86_567_656  # timm's vit_base_patch16_224
    assert int(base["macs"]) == 17_563_828_224
    assert round(int(base["activations"]) / 1e6, 2) == 23.90  # as timm publishes it


def test_the_grid_is_that_of_figure_8() -> None:
    assert SIZE == 2700 == len({tuple(configuration(i).values()) for i in range(SIZE)})
    assert {name: sorted(set(values.tolist())) for name, values in GRID.items()} == {
        "depth": [3, 6, 12, 18, 24],
        "heads": [2, 3, 6, 8, 12],
        "head_dim": [32, 64, 96],
        "mlp_ratio": [2, 4, 8],
        "image_px": [128, 160, 224, 320],
        "patch_px": [8, 16, 32],
    }


def test_arguments_broadcast() -> None:
    table = vit_counts(**(BASE | {"depth": np.array([[6], [12]]), "patch_px": [16, 32, 56]}))["macs"]
    assert table.shape == (2, 3)
    assert table[1, 1] == vit_counts(**(BASE | {"patch_px": 32}))["macs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_px": [16, 15]}, "224 is not divisible by the patch size 15"),
        ({"depth": 0}, "at least 1"),
        ({"patch_px": 0}, "at least 1"),
        ({"mlp_ratio": 0}, "at least 1"),
        ({"num_classes": -1}, "at least 0"),
    ],
)
def test_sizes_that_make_no_model_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        vit_counts(**(BASE | change))
