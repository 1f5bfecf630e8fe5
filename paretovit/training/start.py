"""What is trained on what, and from which weights: names of a model and of data made a spec, data and a `Begin`.

Weights are carried over whole or not at all. A learned position table is interpolated to another image size (bicubic,
as Touvron et al. 2020 do); a head for other classes is made anew only where that is asked for; anything else that
depends on the size of the image is named and refused. A model of images made one of videos has a new head always.
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
from paretovit.zoo.folders import WHOLES
from paretovit.zoo.video_weights import for_videos
from paretovit.zoo.videos import FRAMES, on_videos

_TABLES = ("position.table", "position.space")  # of places in an image, and in a frame


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
    video: str | None = None,
    frames: int | None = None,
) -> Start:
    """A checkpoint folder is gone on from, at its own image size or at `img_size`; `pretrained` takes timm's weights;
    any other name is a new model, made for the channels and classes of the data.

    `classes`, such as "0-4,7", restricts the data. With `video`, "joint" or "divided", what the name is of is made a
    model of clips of so many `frames`, 8 by default, by `on_videos`; it begins with the weights of the model of images
    where that has any. Raises `UserError` for a head of other classes unless `new_head`, and for what `open_data`,
    `resolve` and `on_videos` refuse.
    """
    told: dict[str, Any] = {"classes": classes, "skip_unreadable": skip_unreadable}
    if frames is not None and video is None:
        raise UserError("frames are those of a model of images made one of videos; give --video joint or divided too")
    is_checkpoint = Path(model, SPEC).is_file()
    if is_checkpoint or pretrained:
        own = resolve(model)
        if own.whole is not None and WHOLES.fact(own.whole.name, "answers", "logits") != "logits":
            raise UserError(f"{model} finds objects and recognises no classes; give it to `paretovit detect`")
        spec = own if img_size is None else replace(own, image_px=img_size)
        if video is not None:
            spec, new_head = on_videos(spec, video, frames=FRAMES if frames is None else frames), True
        opened = open_data(data, img_size=spec.square_px, in_chans=spec.in_chans, frames=spec.frames, **told)
        found = opened.val.num_classes
        if found != own.num_classes and not new_head:
            raise UserError(
                f"{model} knows {own.num_classes} classes, {opened.val.name} has {found}; give --new-head to train a "
                "new head for them"
            )
        spec = replace(spec, num_classes=found)
        return Start(spec, opened, begin_from(model, spec, pretrained=pretrained, new_head=new_head))
    spec = resolve(model, img_size=img_size)
    if video is not None:
        spec = on_videos(spec, video, frames=FRAMES if frames is None else frames)
    opened = open_data(data, img_size=spec.square_px, frames=spec.frames, **told)
    val = opened.val
    return Start(replace(spec, in_chans=val.in_chans, num_classes=val.num_classes), opened, None)


@dataclass(frozen=True)
class Weights:
    """A state dict of a `source` model; the name says by which recipe it was made, and ends with the beginning of its
    hash, so that no two are confused."""

    name: str
    source: ModelSpec
    state: dict[str, Tensor]


def trained_weights(model: str, *, pretrained: bool = False) -> Weights:
    """Those of a checkpoint folder, or timm's."""
    if pretrained:
        source, state, recipe = resolve(model), build(model, pretrained=True).state_dict(), "pretrained"
    else:
        source, state = load_model(Path(model))
        recipe = how_trained(Path(model))[0] or "weights"
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return Weights(f"{recipe} at {source.image_px} px ({digest.hexdigest()[:8]})", source, state)


def begin_from(model: str, spec: ModelSpec, *, pretrained: bool = False, new_head: bool = False) -> Begin:
    """The weights of a checkpoint folder, or timm's, put into a model of `spec`."""
    weights = trained_weights(model, pretrained=pretrained)

    def prepare(module: nn.Module) -> None:
        module.load_state_dict(carried(weights.state, weights.source, spec, module, new_head=new_head))

    return Begin(name=weights.name, prepare=prepare)


def carried(
    state: dict[str, Tensor], source: ModelSpec, target: ModelSpec, module: nn.Module, *, new_head: bool = False
) -> dict[str, Tensor]:
    """A state dict of a `source` model for `module`, which was built from `target`; with `new_head` the head stays new.
    A `source` of images may be given to a `target` that `on_videos` made of it.

    Raises `UserError` with the name of the first tensor that does not fit.
    """
    if source.frames is None and target.frames is not None:
        state = for_videos(state, source, target)
    if source.image_px != target.image_px:
        state = at_its_size(dict(state), module)
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


def at_its_size(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Weights that may be of images of another size, with tables of positions for the grid of `module`."""
    if isinstance(module, Backbone):
        rows, columns = module.stem.grid[-2:]
        for name, new in module.state_dict().items():
            if name in _TABLES and name in state:
                prefix = new.shape[1] - rows * columns
                state[name] = resample_abs_pos_embed(state[name], [rows, columns], num_prefix_tokens=prefix)
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
