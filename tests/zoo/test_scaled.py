"""Scaled DeiT and PiT, and the parts that they brought: a second class token, overlapping patches."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from timm.models.pit import PoolingVisionTransformer
from torch import nn

from paretovit.cost.counting import count, count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.architectures import deit_scaled, pit_scaled
from paretovit.zoo.architectures.depth_width import SHAPES
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, resolve
from paretovit.zoo.stems.patch import Patch

SCALED = [name for name in entries() if name.startswith(("deit_scaled_", "pit_scaled_"))]


def costs(module: nn.Module) -> tuple[int, int]:
    return sum(p.numel() for p in module.parameters()), module.macs()  # type: ignore[operator]


def timms(make, image_px: int) -> tuple[int, int]:
    found = count(make, (1, 3, image_px, image_px))
    return found.params, found.macs


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_a_plain_model_costs_what_timms_distilled_deit_does(size):
    heads = {"tiny": 3, "small": 6}[size]
    spec = deit_scaled.plain("m", deit_scaled.Factors(12, heads, 64, 4, 224))
    name = f"deit_{size}_distilled_patch16_224"
    assert costs(build(spec, device="meta")) == timms(lambda: timm.create_model(name), 224)


@pytest.mark.parametrize(("size", "name"), [("tiny", "pit_ti"), ("xs", "pit_xs"), ("small", "pit_s")])
def test_unscaled_factors_cost_what_timms_distilled_pit_does(size, name):
    module = build(pit_scaled.pit("m", pit_scaled.UNSCALED[size]), device="meta")
    assert costs(module) == timms(lambda: timm.create_model(f"{name}_distilled_224"), 224)


@pytest.mark.parametrize("size", pit_scaled.FACTORS)
def test_scaled_factors_cost_what_timms_pit_of_those_factors_does(size):
    image_px, layers, heads, head_dim = pit_scaled.FACTORS[size]

    def make() -> nn.Module:
        return PoolingVisionTransformer(
            img_size=image_px,
            patch_size=16,
            stride=8,
            base_dims=[head_dim] * 3,
            depth=layers,
            heads=[heads, 2 * heads, 4 * heads],
            mlp_ratio=4.0,
            distilled=True,
        )

    assert costs(build(f"pit_scaled_{size}", device="meta")) == timms(make, image_px)


@pytest.mark.parametrize("name", SCALED)
def test_closed_form_macs_are_the_counted_ones(name):
    spec = resolve(name)
    module = build(spec, device="meta")
    image = torch.empty(1, 3, spec.image_px, spec.image_px, device="meta")
    assert module.macs() == count_module(module, image).macs  # type: ignore[operator]


@pytest.mark.parametrize(("size", "sides"), [("tiny", (19, 10, 5)), ("xs", (19, 10, 5)), ("small", (31, 16, 8))])
def test_pits_grids_are_those_of_table_8(size, sides):
    module = build(f"pit_scaled_{size}", device="meta")
    assert [block[0].mixer.layout.grid for block in module.stages] == [(side, side) for side in sides]


@pytest.mark.parametrize(("name", "side"), [("deit_scaled_tiny_rp", 9), ("deit_scaled_small_rp", 14)])
def test_permuted_images_are_cut_into_odd_patches(name, side):
    assert build(name, device="meta").stem.grid == (side, side)


def test_depth_and_width_are_in_the_catalog_with_what_is_printed():
    for name in SHAPES:
        entry = entries()[f"vit_{name}_patch32_224"]
        params, macs = costs(build(entry.spec, device="meta"))
        assert round(params / 1e6, 2) == entry.published.params_m
        assert macs / 1e9 == pytest.approx(entry.published.gmacs, rel=0.01, abs=0.005)


def _renamed(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """timm's distilled DeiT under our names."""
    made = {"class_token": torch.cat((state.pop("cls_token"), state.pop("dist_token")), dim=1)}
    for name, value in state.items():
        name = re.sub(r"^patch_embed\.proj\.", "stem.proj.", name)
        name = name.replace("pos_embed", "position.table").replace(".attn.", ".mixer.")
        name = re.sub(r"^blocks\.", "stages.0.", name)
        name = re.sub(r"^head\.", "head.maps.0.", name)
        made[re.sub(r"^head_dist\.", "head.maps.1.", name)] = value
    assert set(made) == set(model.state_dict())
    return made


def test_with_timms_weights_a_distilled_model_gives_timms_logits():
    theirs = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, num_classes=7).eval()
    nn.init.normal_(theirs.head_dist.weight)
    spec = deit_scaled.plain("m", deit_scaled.Factors(12, 3, 64, 4, 32))
    ours = build(spec, num_classes=7).eval()
    ours.load_state_dict(_renamed(dict(theirs.state_dict()), ours))
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-5)


def _pits(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """timm's distilled PiT under our names: its tables are maps, its class tokens' linear map lies with the pooling."""
    made = {"position.table": state.pop("pos_embed").flatten(2).mT}
    for name, value in state.items():
        name = re.sub(r"^patch_embed\.conv\.", "stem.proj.", name)
        name = re.sub(r"^transformers\.(\d)\.blocks\.(\d+)\.", r"stages.\1.\2.", name).replace(".attn.", ".mixer.")
        name = re.sub(r"^transformers\.(\d)\.pool\.conv\.", r"between.\1.conv.", name)
        name = re.sub(r"^transformers\.(\d)\.pool\.fc\.", r"between.\1.prefix.", name)
        name = re.sub(r"^head\.", "head.maps.0.", name.replace("cls_token", "class_token"))
        made[re.sub(r"^head_dist\.", "head.maps.1.", name)] = value
    assert set(made) == set(model.state_dict())
    return made


def test_with_timms_weights_a_pit_gives_timms_logits():
    theirs = timm.create_model("pit_ti_distilled_224", img_size=48, num_classes=7).eval()
    ours = build(pit_scaled.pit("m", pit_scaled.UNSCALED["tiny"]._replace(image_px=48)), num_classes=7).eval()
    ours.load_state_dict(_pits(dict(theirs.state_dict()), ours))
    image = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-5)


def distilled(num_classes: int = 5) -> ModelSpec:
    stage = Stage(depth=1, dim=16, heads=2)
    return ModelSpec(
        name="m", stages=(stage,), image_px=8, patch_px=2, num_classes=num_classes, readout=Part("distilled")
    )


def test_the_logits_are_the_mean_of_both_classifiers():
    model = build(distilled()).eval()
    features = model._features(model._tokens(torch.randn(3, 3, 8, 8)))
    assert features.shape == (3, 2, 16)
    expected = [features[:, i] @ linear.weight.T + linear.bias for i, linear in enumerate(model.head.maps)]
    torch.testing.assert_close(model.head(features), (expected[0] + expected[1]) / 2)
    torch.testing.assert_close(torch.stack(model.head.each(features)), torch.stack(expected))


def test_a_distilled_model_has_the_manners_of_timm():
    model, image = build(distilled()).eval(), torch.randn(2, 3, 8, 8)
    tokens = model.forward_features(image)
    torch.testing.assert_close(model.forward_head(tokens), model(image))
    plain = model.forward_head(tokens, pre_logits=True)
    assert plain.shape == (2, 16)
    model.reset_classifier(3)
    assert model(image).shape == (2, 3)
    model.reset_classifier(0)
    torch.testing.assert_close(model(image), plain)
    model.reset_classifier(4)
    model.train()(image).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.head.parameters())


def test_overlapping_patches_are_the_image_seen_every_few_pixels():
    stem, image = Patch(3, 4, 10, 4, stride=3), torch.randn(2, 3, 10, 10)
    assert stem.grid == (3, 3)
    tokens = stem(image)
    for row in range(3):
        for col in range(3):
            patch = image[:, :, 3 * row : 3 * row + 4, 3 * col : 3 * col + 4].flatten(1)
            expected = patch @ stem.proj.weight.flatten(1).T + stem.proj.bias
            torch.testing.assert_close(tokens[:, 3 * row + col], expected)
    assert count_module(stem, image[:1]).macs == stem.macs()


@pytest.mark.parametrize(
    ("image_px", "stride", "message"),
    [(11, 3, "use 10 or 13 px"), (3, 3, "use 4 or 7 px"), (10, 5, "between 1 and the patch 4"), (10, 0, "got 0")],
)
def test_overlapping_patches_that_do_not_fit_are_refused(image_px, stride, message):
    with pytest.raises(UserError, match=message):
        Patch(3, 4, image_px, 4, stride=stride)
