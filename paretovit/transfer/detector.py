"""A backbone made a detector: its spec, and the weights that it brings from recognising classes.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", app. E: models learn ImageNet
         first, and their "positional embeddings" are scaled to the size of the pictures "via bilinear interpolation".
Differs  They are interpolated once, to the one size that all pictures are brought to, and learn on there.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from paretovit.errors import UserError, unknown
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.folders import WHOLES
from paretovit.zoo.wholes.deformable_detr import DeformableDetr

_TABLES = ("position.table", "pos_embed")  # of places, in our models and in timm's


def is_detector(spec: ModelSpec) -> bool:
    """Whether its model answers with boxes."""
    return spec.whole is not None and WHOLES.fact(spec.whole.name, "answers") == "boxes"


def detector_spec(backbone: ModelSpec, num_classes: int, head: Sequence[str] = ()) -> ModelSpec:
    """A Deformable DETR for so many classes on that backbone; `head` has its sizes, such as ["queries=50", "layers=3"].

    Raises `UserError` for sizes that it has not, and for a backbone that is neither on the skeleton nor timm's.
    """
    options = _sizes(head)
    if backbone.transforms:
        raise UserError(f"{backbone.name} was changed after it was built (its transforms); take one that was not")
    if backbone.whole is not None:
        if backbone.whole.name != "timm":
            raise UserError(
                f"{backbone.name} is no backbone of a detector; take a model on the skeleton, or timm's own"
            )
        options |= dict(backbone.whole.options)
    DeformableDetr(**options)  # sizes that do not go together are told of now
    whole = Part.of("deformable_detr", **options)
    return replace(backbone, name=f"deformable_detr_{backbone.name}", whole=whole, num_classes=num_classes)


def _sizes(head: Sequence[str]) -> dict[str, Any]:
    """What `head` changes of a detector's sizes."""
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(DeformableDetr).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    found: dict[str, Any] = {}
    for change in head:
        name, equals, text = (part.strip() for part in change.partition("="))
        if equals and name not in known:
            raise unknown("size of a detector", name, known)
        try:
            found[name] = type(known[name])(text)
        except (KeyError, ValueError):
            raise UserError(f"cannot read {change!r}; write it as name=number, such as queries=50") from None
    return {name: value for name, value in found.items() if value != known[name]}


def backbone_weights(state: dict[str, Tensor], source: ModelSpec, backbone: nn.Module) -> dict[str, Tensor]:
    """Of `state`, the weights of a classifier of `source`, those that `backbone` has, which is the same without a head
    and perhaps for another image size; learned places are brought to its grid.

    Raises `UserError` with the name of the first tensor that does not fit.
    """
    fitting = {}
    for name, new in backbone.state_dict().items():
        old = state.get(name)
        if old is not None and name in _TABLES:
            old = _resampled(old, _grid(build(source, device="meta")), _grid(backbone), new.shape[1])
        if old is None or old.shape != new.shape:
            have = "nothing" if old is None else tuple(old.shape)
            raise UserError(
                f"{name} of {source.name} cannot be carried over to these pictures: it is {have}, and has to be "
                f"{tuple(new.shape)}; give --img-size {source.image_px}, or begin from new weights"
            )
        fitting[name] = old
    return fitting


def _resampled(table_1ND: Tensor, old: tuple[int, int], new: tuple[int, int], tokens: int) -> Tensor:
    """A table of places on the grid `old` made one for `tokens`, whose patches lie on the grid `new`."""
    prefix = tokens - new[0] * new[1]
    return resample_abs_pos_embed(
        table_1ND, list(new), list(old), num_prefix_tokens=prefix, interpolation="bilinear", antialias=False
    )


def _grid(model: nn.Module) -> tuple[int, int]:
    """Rows and columns of its patches."""
    place: Any = model.stem.grid if isinstance(model, Backbone) else model.patch_embed.grid_size  # type: ignore[union-attr]
    return place[0], place[1]
