"""timm's ViT, DeiT and DeiT III state dicts, renamed for the skeleton.

The names are the only difference: a plain ViT of ours with these weights gives timm's logits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import timm
import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.backbone import Backbone

_RENAMES = (
    (r"^patch_embed\.proj\.", "stem.proj."),
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "position.table"),
    (r"^blocks\.(\d+)\.", r"stages.0.\1."),
    (r"\.attn\.", ".mixer."),
    (r"\.ls([12])\.", r".scale\1."),
    (r"^fc_norm\.", "norm."),
)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module | None = None) -> dict[str, Tensor]:
    """A timm ViT state dict under our names; one that has them already comes back unchanged.

    The signature is timm's, so that `timm.models.load_checkpoint(model, path, filter_fn=checkpoint_filter_fn)`
    works. Training wrappers (`{"model": ...}`, `{"state_dict": ...}`) are opened.
    """
    for wrapper in ("state_dict", "model"):
        inner = state_dict.get(wrapper)
        if isinstance(inner, dict):
            state_dict = inner
    renamed = {}
    for name, value in state_dict.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def load_pretrained(model: Backbone) -> None:
    """Fills a model whose parameters are those of a timm ViT with timm's weights (from its cache or the hub), and
    tells timm's transforms how images were normalised for them.

    Raises `UserError` where the model has parameters of its own, or the size has no weights, or they cannot
    be had.
    """
    spec = model.spec
    size = re.search(r"_(tiny|small|base|large)_patch(\d+)_", spec.name)
    parent = f"vit_{size[1]}_patch{size[2]}_224" if size else ""
    if not timm.is_model_pretrained(parent):
        raise UserError(f"no pretrained weights are known for {spec.name}; train it, or load a checkpoint folder")
    wanted = {"img_size": spec.image_px, "in_chans": spec.in_chans, "num_classes": spec.num_classes}
    with torch.device("meta"):
        theirs = _shapes(checkpoint_filter_fn(timm.create_model(parent, **wanted).state_dict()))
    ours = _shapes(dict(model.named_parameters()))
    differ = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    if differ:
        raise UserError(f"{spec.name} cannot take the weights of timm's {parent}: they differ in {differ[0]}; train it")
    try:
        source = timm.create_model(parent, pretrained=True, **wanted)
    except Exception as error:  # hub clients raise whatever their transport raises
        raise UserError(f"cannot fetch the weights of {parent}: {str(error).splitlines()[0]}") from error
    model.load_state_dict(checkpoint_filter_fn(source.state_dict()), strict=False)
    for fact in ("mean", "std", "crop_pct", "interpolation"):
        model.default_cfg[fact] = source.pretrained_cfg[fact]


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
