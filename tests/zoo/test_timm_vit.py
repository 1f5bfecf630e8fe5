"""timm's own models told on the skeleton: the same logits, or one line that says what speaks against it."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.timm_vit import on_skeleton

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 5}
SPEC = ModelSpec(name="theirs", whole=Part.of("timm", architecture="theirs"), image_px=32, num_classes=5)


def theirs(**options: Any) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**(SIZES | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"no_embed_class": True, "init_values": 1e-6},  # DeiT III
        {"global_pool": "avg", "class_token": False},
        {"global_pool": "avg", "class_token": False, "fc_norm": False},
        {"pos_embed": "none", "qkv_bias": False, "mlp_ratio": 3.0},
    ],
    ids=str,
)
def test_the_same_network_under_our_names(options: dict[str, Any]) -> None:
    model = theirs(**options)
    spec, state = on_skeleton(model, SPEC)
    ours = Backbone(spec).eval()
    ours.load_state_dict(state)
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(image), model(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reg_tokens": 2}, "has register or distillation tokens"),
        ({"qk_norm": True}, "norms queries and keys"),
        ({"pre_norm": True}, "norms its tokens before the first layer"),
        ({"global_pool": "avg"}, "takes the mean of patches beside a class token"),
        ({"global_pool": "map", "class_token": False}, "pools by attention"),
        ({"act_layer": "quick_gelu"}, "has another MLP than the plain one"),
        ({"block_fn": timm.models.vision_transformer.ParallelScalingBlock}, "blocks of another kind"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_the_skeleton_has_not_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        on_skeleton(theirs(**options), SPEC)
    assert "\n" not in str(error.value)


def test_what_was_overlooked_shows_in_the_logits() -> None:
    model = theirs()
    model.norm.eps = 0.5
    model.norm.forward = lambda x: torch.zeros_like(x)
    with pytest.raises(UserError, match="the logits differ"):
        on_skeleton(model, SPEC)


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnet18", "no sequence of tokens"), ("eva02_tiny_patch14_224", "is a Eva, whose blocks differ")],
)
def test_models_of_another_kind_say_why(name: str, message: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(UserError, match=message):
        on_skeleton(model, SPEC)
