"""The only place where names turn into modules."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Pixels
from paretovit.zoo import timm_weights
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC, load_model
from paretovit.zoo.folders import TRANSFORMS, WHOLES, make


def build(
    model: str | ModelSpec,
    *,
    img_size: Pixels | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
    drop_path: float = 0.0,
    pretrained: bool = False,
    device: str | torch.device | None = None,
) -> nn.Module:
    """The module of a spec or of a name: a catalog name, any timm name, a checkpoint folder, `module:callable`.

    `img_size` is the side of square images, or (rows, columns). `drop_path` is the stochastic-depth rate of the last
    block, growing linearly from 0. `pretrained` loads timm's ImageNet weights, for timm's models and for those of ours
    that add no parameters to timm's ViT. Without a `device` it is that of a surrounding `with torch.device(...)`; on
    "meta" nothing is allocated.

    Raises `UserError` for names and sizes that make no model, and for a checkpoint asked to be of another size.
    """
    if isinstance(model, ModelSpec):
        asked: dict[str, Any] = {"image_px": img_size, "in_chans": in_chans, "num_classes": num_classes}
        spec = replace(model, **{field: value for field, value in asked.items() if value is not None})
    else:
        spec = resolve(model, img_size=img_size, in_chans=in_chans, num_classes=num_classes)
    with nullcontext() if device is None else torch.device(device):
        if spec.whole is not None:
            module = make(WHOLES, spec.whole)(spec, drop_path=drop_path, pretrained=pretrained)
        else:
            module = Backbone(spec, drop_path=drop_path)
            if pretrained:
                timm_weights.load_pretrained(module)
        for part in spec.transforms:
            module = make(TRANSFORMS, part)(module)
        virtual = torch.empty(0).is_meta
    if not isinstance(model, ModelSpec) and Path(model, SPEC).is_file() and not virtual:
        trained, weights = load_model(Path(model))
        if trained.key != spec.key:
            raise UserError(
                f"{model} was trained on {trained.num_classes} classes of {' x '.join(map(str, trained.input_shape))} "
                f"px, and its weights fit nothing else; leave img_size, in_chans and num_classes out"
            )
        module.load_state_dict(weights)
    return module
