"""HaloNet of our rows against timm's H1, and what it says of sizes."""

from __future__ import annotations

import pytest
import timm
import torch

import paretovit  # noqa: F401  (registers the catalog with timm)
from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, family, resolve

H1 = ModelSpec(name="h1", whole=Part.of("halonet", width_ratio=1.0, third=10), image_px=256)


def test_with_the_ratio_and_depth_of_h1_it_is_timms_h1() -> None:
    ours, theirs = build(H1, device="meta"), timm.create_model("halonet_h1").to("meta")
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("name", "params_m"), [("halonet_h0", 5.5), ("halonet_h2", 9.4)])
def test_has_the_parameters_of_the_paper(name: str, params_m: float) -> None:
    model = build(name, device="meta")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(params_m, rel=0.01)
    assert count_module(model, torch.empty(1, 3, 256, 256, device="meta")).macs > 1e9
    assert entries()[name].family == family(resolve(name)) == "sparse attention"


def test_learns_and_takes_wide_images() -> None:
    model = build("halonet_h0", img_size=(256, 512), in_chans=1, num_classes=3).train()
    model(torch.randn(2, 1, 256, 512)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_it_is_a_model_of_timms_registry_and_has_its_manners() -> None:
    model = timm.create_model("halonet_h0", num_classes=7).eval()
    assert model.default_cfg["classifier"] == "head.fc"
    assert model.get_classifier().out_features == model.default_cfg["num_classes"] == 7
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_head(model.forward_features(image)), model(image))


def test_images_that_blocks_do_not_divide_are_refused_with_the_near_sizes() -> None:
    with pytest.raises(UserError, match=r"images of 224 px do not fit; use multiples of 256 px"):
        build("halonet_h0", img_size=224, device="meta")


def test_weights_are_not_made_up() -> None:
    with pytest.raises(UserError, match="no pretrained weights"):
        build("halonet_h0", pretrained=True)
