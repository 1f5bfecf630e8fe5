from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import load_checkpoint
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.catalog import resolve
from paretovit.zoo.timm_weights import checkpoint_filter_fn, load_pretrained


def small_timm() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=10).eval()


SMALL = ModelSpec(name="small", stages=(Stage(depth=2, dim=64, heads=2),), image_px=32, patch_px=8, num_classes=10)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_every_tensor_of_timm_gets_our_name(wrapper: str | None) -> None:
    state: dict[str, Any] = small_timm().state_dict()
    renamed = checkpoint_filter_fn({wrapper: state} if wrapper else state)
    ours = Backbone(SMALL).state_dict()
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in ours.items()}


def test_our_own_names_come_back_unchanged() -> None:
    state = Backbone(SMALL).state_dict()
    assert checkpoint_filter_fn(state).keys() == state.keys()


def test_timms_loader_reads_a_timm_checkpoint_into_our_model(tmp_path: Path) -> None:
    theirs, ours = small_timm(), Backbone(SMALL).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "timm.pth")
    load_checkpoint(ours, str(tmp_path / "timm.pth"), filter_fn=checkpoint_filter_fn)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-5)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """timm's hub without a network: "pretrained" models are random. Lists the names that were fetched."""
    fetched: list[str] = []
    create = timm.create_model

    def create_model(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            fetched.append(name)
        model = create(name, **options)
        model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    return fetched


@pytest.mark.parametrize("architecture", ["vit", "tome", "evit_fuse", "performer"])
def test_pretrained_weights_fill_models_without_parameters_of_their_own(architecture: str, hub: list[str]) -> None:
    model = Backbone(replace(resolve(f"{architecture}_tiny_patch16_224", img_size=32), num_classes=3))
    before = {k: v.clone() for k, v in model.named_parameters()}
    load_pretrained(model)
    assert hub == ["vit_tiny_patch16_224"]
    assert not torch.equal(before["stages.0.11.mlp.fc2.weight"], model.state_dict()["stages.0.11.mlp.fc2.weight"])
    assert timm.data.resolve_model_data_config(model)["mean"] == (0.5, 0.5, 0.5), "images as the weights know them"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("switch_tiny_patch16_224", "cannot take the weights of timm's vit_tiny_patch16_224"),
        ("pool_vit_tiny_patch16_224", "cannot take the weights of timm's vit_tiny_patch16_224"),
        ("token_learner_tiny_patch16_224", "cannot take the weights of timm's vit_tiny_patch16_224"),
        ("vit_tiny_patch32_224", "no pretrained weights are known for vit_tiny_patch32_224"),
        ("vit_pico_patch4_32", "no pretrained weights are known for vit_pico_patch4_32"),
    ],
)
def test_models_that_timms_weights_do_not_fit_are_refused_before_anything_is_fetched(
    name: str, message: str, hub: list[str]
) -> None:
    with torch.device("meta"):
        model = Backbone(resolve(name))
    with pytest.raises(UserError, match=message):
        load_pretrained(model)
    assert hub == []


def test_weights_that_cannot_be_fetched_are_the_users_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise OSError("no route to the hub\nand a long story")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with torch.device("meta"):
        model = Backbone(resolve("vit_tiny_patch16_224"))
    with pytest.raises(UserError, match=r"cannot fetch the weights of vit_tiny_patch16_224: no route to the hub$"):
        load_pretrained(model)
