"""timm's vision transformers told on the skeleton: the same network with the same weights under our names.

What the skeleton has not (register tokens, gated MLPs, normed queries, ...) is named and refused; and whatever was
overlooked shows when both are given the same images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import timm
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.timm_weights import checkpoint_filter_fn


def on_skeleton(model: nn.Module, spec: ModelSpec) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The spec of timm's `model` on the skeleton, and its weights under our names; `spec` gives name and sizes.

    Raises `UserError` for a model that has no such spec, with the first thing that speaks against it, and for one
    whose logits then differ.
    """
    why = _against(model)
    if why:
        raise UserError(f"{spec.name} {why}; give a plain ViT, DeiT or DeiT III, or a checkpoint folder")
    assert isinstance(model, VisionTransformer)
    told = _told(model, spec)
    state = checkpoint_filter_fn(model.state_dict())
    ours = Backbone(told).eval()
    try:
        ours.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{spec.name} has weights that the skeleton has not: {reason}; give a plain ViT") from error
    was_training = model.training
    model.eval()
    images = torch.randn(2, *told.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, found = model(images), ours(images)
    model.train(was_training)
    if not torch.allclose(found, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())):
        raise UserError(f"{spec.name} has something that the skeleton has not: the logits differ; give a plain ViT")
    return told, state


def off_skeleton(model: nn.Module, spec: ModelSpec) -> tuple[dict[str, Any], nn.Module] | None:
    """The other way round: options that make timm's `vit_base_patch16_224` the network of `spec`, and that network with
    the weights of `model`, which was built from `spec`; None where no plain ViT of timm's is that network."""
    stage = spec.stages[0] if len(spec.stages) == 1 and not spec.transforms else None
    if stage is None or stage.mlp is None:
        return None
    mixer, mlp = dict(stage.mixer.options), dict(stage.mlp.options)
    options: dict[str, Any] = {
        "img_size": spec.image_px,
        "patch_size": spec.patch_px,
        "in_chans": spec.in_chans,
        "num_classes": spec.num_classes,
        "embed_dim": stage.dim,
        "depth": stage.depth,
        "num_heads": stage.heads,
        "mlp_ratio": mlp.get("hidden", 4 * stage.dim) / stage.dim,
        "qkv_bias": mixer.get("qkv_bias", True),
    }
    if spec.layer_scale is not None:
        options["init_values"] = spec.layer_scale
    if dict(spec.position.options).get("prefix") is False:
        options["no_embed_class"] = True
    if spec.readout.name == "mean":
        options |= {"class_token": False, "global_pool": "avg", "fc_norm": not dict(spec.readout.options)}
    try:
        theirs = timm.create_model("vit_base_patch16_224", **options)
        told, names = on_skeleton(theirs, spec)
    except (UserError, AssertionError, TypeError, ValueError):
        return None
    if replace(told, init=spec.init, layer_scale=spec.layer_scale).key != spec.key:
        return None  # a slot that differs from a plain ViT's
    ours = model.state_dict()
    theirs.load_state_dict({name: ours[own] for name, own in zip(theirs.state_dict(), names, strict=True)})
    return options, theirs


def _against(model: nn.Module) -> str:
    """What speaks against telling a model on the skeleton, in words; "" if nothing that is known does."""
    if not isinstance(model, VisionTransformer):
        tokens = "blocks" in dict(model.named_children()) and hasattr(model, "patch_embed")
        return f"is a {type(model).__name__}, " + (
            "whose blocks differ from a plain ViT's" if tokens else "which has no sequence of tokens through its depth"
        )
    block: Any = model.blocks[0]
    if type(block) is not Block:
        return f"has blocks of another kind, {type(block).__name__}"
    found = {
        "has register or distillation tokens": model.num_prefix_tokens > 1,
        "pools by attention": model.attn_pool is not None,
        "norms its tokens before the first layer": not isinstance(model.norm_pre, nn.Identity),
        "norms queries and keys": not isinstance(block.attn.q_norm, nn.Identity),
        "has other norms than layer norm": not isinstance(block.norm1, nn.LayerNorm),
        "has another MLP than the plain one": type(block.mlp) is not Mlp or not isinstance(block.mlp.act, nn.GELU),
        "takes the mean of patches beside a class token": model.global_pool != "token" and model.cls_token is not None,
        f"pools by {model.global_pool}": model.global_pool not in ("token", "avg"),
    }
    return next((why for why, holds in found.items() if holds), "")


def _told(model: VisionTransformer, spec: ModelSpec) -> ModelSpec:
    block: Any = model.blocks[0]
    hidden, dim = block.mlp.fc1.out_features, model.embed_dim
    position = Part("absent") if model.pos_embed is None else Part("learned")
    if model.pos_embed is not None and model.cls_token is not None and model.no_embed_class:
        position = Part.of("learned", prefix=False)
    readout = Part("class_token")
    if model.cls_token is None:
        readout = Part.of("mean", norm_first=True) if isinstance(model.fc_norm, nn.Identity) else Part("mean")
    final = model.norm if isinstance(model.fc_norm, nn.Identity) else model.fc_norm
    scaled = not isinstance(block.ls1, nn.Identity)
    return ModelSpec(
        name=spec.name,
        stages=(
            Stage(
                depth=len(model.blocks),
                dim=dim,
                heads=block.attn.num_heads,
                mixer=Part("attention") if block.attn.qkv.bias is not None else Part.of("attention", qkv_bias=False),
                mlp=Part("mlp") if hidden == 4 * dim else Part.of("mlp", hidden=hidden),
            ),
        ),
        position=position,
        readout=readout,
        layer_scale=1e-5 if scaled else None,
        norm=norm_part(block.norm1),
        final_norm=norm_part(final),
        image_px=spec.image_px,
        patch_px=model.patch_embed.patch_size[0],
        in_chans=spec.in_chans,
        num_classes=spec.num_classes,
    )


def norm_part(norm: Any) -> Part:
    """A norm of timm's over channels as ours: layer norm with its epsilon."""
    return Part("layer_norm") if norm.eps == 1e-6 else Part.of("layer_norm", eps=norm.eps)
