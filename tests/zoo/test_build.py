from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries
from paretovit.zoo.checkpoint import save_model

TINY = ModelSpec(name="mine", stages=(Stage(depth=2, dim=32, heads=2),), image_px=16, patch_px=8, num_classes=4)


class LargestReal(TorchDispatchMode):
    """Elements of the largest tensor of numbers with storage that any operator returns, truths aside."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and not leaf.is_meta and leaf.dtype != torch.bool:
                self.elements = max(self.elements, leaf.numel())
        return result


@pytest.mark.parametrize("name", entries())
def test_every_catalog_model_is_built_on_meta_without_allocating(name: str) -> None:
    with LargestReal() as largest:
        model = build(name, device="meta")
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert (
        largest.elements < 20_000
    )  # small tables may be computed; the smallest weight matrix of a tiny ViT has 36,864


def test_a_surrounding_device_counts_and_a_stated_one_wins() -> None:
    with torch.device("meta"):
        assert build(TINY).head.weight.is_meta
        assert build(TINY, device="cpu").head.weight.device.type == "cpu"
    assert build(TINY).head.weight.device.type == "cpu"


@pytest.mark.parametrize("model", ["vit_pico_patch8_32", TINY, "resnet10t"], ids=["catalog", "spec", "timm"])
def test_sizes_asked_for_are_those_built(model: str | ModelSpec) -> None:
    built = build(model, img_size=64, in_chans=1, num_classes=7).eval()
    assert built(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


def test_drop_path_reaches_our_models_and_timms() -> None:
    assert build(TINY, drop_path=0.4).stages[0][1].drop_path.drop_prob == 0.4
    model = build("timm/vit_tiny_patch16_224", drop_path=0.4, device="meta")
    assert model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.4)


def test_timm_in_front_asks_for_timms_model() -> None:
    assert isinstance(build("vit_tiny_patch16_224", device="meta"), Backbone)
    assert isinstance(build("timm/vit_tiny_patch16_224", device="meta"), timm.models.VisionTransformer)


def test_a_timm_model_of_fixed_size_takes_the_size_asked_for() -> None:
    model = build("deit_tiny_patch16_224", img_size=32, num_classes=3).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_what_timm_refuses_is_one_line_for_the_user() -> None:
    with pytest.raises(UserError, match=r"timm cannot build efficientvit_b1.*drop_path_rate") as caught:
        build("efficientvit_b1", drop_path=0.1, device="meta")
    assert "\n" not in str(caught.value)


def make_linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))


def make_nothing() -> int:
    return 3


def test_a_module_of_the_users_own_is_built_by_its_path() -> None:
    assert build(f"{__name__}:make_linear")(torch.zeros(1, 3, 4, 4)).shape == (1, 2)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package:model", "cannot import no_such_package:model"),
        (f"{__name__}:no_such_callable", "no_such_callable"),
        (f"{__name__}:make_nothing", "returned int, not a torch.nn.Module"),
    ],
)
def test_a_path_to_something_else_is_refused(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(path)


def test_a_checkpoint_folder_comes_back_with_its_weights(tmp_path: Path) -> None:
    trained = build(TINY).eval()
    save_model(tmp_path, TINY, trained)
    image = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(build(str(tmp_path)).eval()(image), trained(image), rtol=0, atol=0)
    assert build(str(tmp_path), device="meta").head.weight.is_meta


def test_a_checkpoint_does_not_fit_other_classes(tmp_path: Path) -> None:
    save_model(tmp_path, TINY, build(TINY))
    assert build(str(tmp_path), num_classes=4).num_classes == 4
    with pytest.raises(UserError, match="trained on 4 classes of 3 x 16 x 16 px"):
        build(str(tmp_path), num_classes=5)


@pytest.mark.parametrize("field", ["depth", "dim", "heads"])
def test_a_spec_without_blocks_or_width_is_refused(field: str) -> None:
    with pytest.raises(UserError, match="at least 1"):
        replace(TINY, stages=(replace(TINY.stages[0], **{field: 0}),))


def test_options_of_a_part_reach_it() -> None:
    spec = replace(TINY, stages=(replace(TINY.stages[0], mlp=Part.of("mlp", hidden=5)),))
    assert build(spec).stages[0][0].mlp.fc1.out_features == 5
