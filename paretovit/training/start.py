"""What is trained on what, and from which weights: names of a model and of data made a spec, data and a `Begin`.

Weights are carried over whole or not at all. A learned position table is interpolated to another image size (bicubic,
as Touvron et al. 2020 do); a head for other classes is made anew only where that is asked for; anything else that
depends on the size of the image is named and refused.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.data import Data, open_data
from paretovit.training.loop import Begin
from paretovit.training.run import how_trained
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC, load_model

_TABLE = "position.table"


@dataclass(frozen=True)
class Start:
    """A model, the data as it takes them, and what it begins from; `begin` is None for new weights."""

    spec: ModelSpec
    data: Data
    begin: Begin | None


def start(
    model: str,
    data: str,
    *,
    img_size: int | None = None,
    classes: str | None = None,
    pretrained: bool = False,
    new_head: bool = False,
    skip_unreadable: bool = False,
) -> Start:
    """A checkpoint folder is gone on from, at its own image size or at `img_size`; `pretrained` takes timm's weights;
    any other name is a new model, made for the channels and classes of the data.

    `classes`, such as "0-4,7", restricts the data. Raises `UserError` for a head of other classes unless `new_head`,
    and for what `open_data` and `resolve` refuse.
    """
    told: dict[str, Any] = {"classes": classes, "skip_unreadable": skip_unreadable}
    is_checkpoint = Path(model, SPEC).is_file()
    if is_checkpoint or pretrained:
        own = resolve(model)
        spec = own if img_size is None else replace(own, image_px=img_size)
        opened = open_data(data, img_size=spec.square_px, in_chans=spec.in_chans, **told)
        found = opened.val.num_classes
        if found != own.num_classes and not new_head:
            raise UserError(
                f"{model} knows {own.num_classes} classes, {opened.val.name} has {found}; give --new-head to train a "
                "new head for them"
            )
        spec = replace(spec, num_classes=found)
        return Start(spec, opened, begin_from(model, spec, pretrained=pretrained, new_head=new_head))
    spec = resolve(model, img_size=img_size)
    opened = open_data(data, **told)
    if opened.val.image_px != spec.image_px:
        opened = open_data(data, img_size=spec.square_px, **told)
    val = opened.val
    return Start(resolve(model, img_size=img_size, in_chans=val.in_chans, num_classes=val.num_classes), opened, None)


def begin_from(model: str, spec: ModelSpec, *, pretrained: bool = False, new_head: bool = False) -> Begin:
    """The weights of a checkpoint folder, or timm's, put into a model of `spec`; the name says by which recipe they
    were made, and ends with the beginning of their hash, so that no two are confused."""
    if pretrained:
        source, state, recipe = resolve(model), build(model, pretrained=True).state_dict(), "pretrained"
    else:
        source, state = load_model(Path(model))
        recipe = how_trained(Path(model))[0] or "weights"
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())

    def prepare(module: nn.Module) -> None:
        module.load_state_dict(carried(state, source, spec, module, new_head=new_head))

    name = f"{recipe} at {source.image_px} px ({digest.hexdigest()[:8]})"
    return Begin(name=name, prepare=prepare)


def carried(
    state: dict[str, Tensor], source: ModelSpec, target: ModelSpec, module: nn.Module, *, new_head: bool = False
) -> dict[str, Tensor]:
    """A state dict of a `source` model for `module`, which was built from `target`; with `new_head` the head stays new.

    Raises `UserError` with the name of the first tensor that does not fit.
    """
    if source.image_px != target.image_px:
        state = _at_another_size(dict(state), module)
    wanted, fitting = module.state_dict(), {}
    heads = _heads(module)
    for name, tensor in wanted.items():
        if name in heads and new_head:
            fitting[name] = tensor
        elif name not in state or state[name].shape != tensor.shape:
            have = tuple(state[name].shape) if name in state else "nothing"
            raise UserError(
                f"{name} of {source.name} cannot be carried from {source.image_px} to {target.image_px} px: it is "
                f"{have}, and has to be {tuple(tensor.shape)}; train at {source.image_px} px, or from new weights"
            )
        else:
            fitting[name] = state[name]
    return fitting


def _at_another_size(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    if isinstance(module, Backbone):
        new = module.state_dict().get(_TABLE)
        if new is not None and _TABLE in state:
            rows, columns = module.stem.grid
            prefix = new.shape[1] - rows * columns
            state[_TABLE] = resample_abs_pos_embed(state[_TABLE], [rows, columns], num_prefix_tokens=prefix)
        return state
    # timm keeps beside each architecture how its weights are brought to another size
    adapt = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    return state if adapt is None else adapt(state, module)


def _heads(module: nn.Module) -> set[str]:
    """Names of the tensors that give the logits."""
    config: dict[str, Any] = getattr(module, "default_cfg", None) or {}
    named = config.get("classifier") or "head"
    places = (named,) if isinstance(named, str) else tuple(named)
    return {name for name in module.state_dict() if any(name == p or name.startswith(f"{p}.") for p in places)}


def trained(
    model: str, data: str, *, img_size: int | None = None, classes: str | None = None, pretrained: bool = False
) -> tuple[ModelSpec, nn.Module, Data]:
    """A trained model, at its own image size or at another one, and data as it takes them, to be judged by.

    Raises `UserError` for a name without weights and for weights that another size does not fit.
    """
    if not pretrained and not Path(model, SPEC).is_file():
        raise UserError(f"{model} has no trained weights; give a checkpoint folder, or --pretrained")
    begun = start(model, data, img_size=img_size, classes=classes, pretrained=pretrained)
    module = build(begun.spec)
    if begun.begin is not None:
        begun.begin.prepare(module)
    return begun.spec, module.eval(), begun.data
