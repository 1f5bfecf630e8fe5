"""A vision transformer in all sizes that one way of resizing it makes: by its width, depth, patches or images.

Models   Those on our skeleton, and timm's `VisionTransformer`s (ViT, DeiT, DeiT III), whose constructor takes sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from paretovit.errors import UserError, unknown
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

WAYS = ("width", "depth", "patch", "resolution")
_LARGEST = 4  # a size is looked for up to so many times the model's own
_HEAD_WIDTH = 0.25  # by which share the width of a head may change with the width of the model
_NAMED = re.compile(r"(?P<rest>.+_patch)\d+_\d+")


@dataclass(frozen=True)
class Shape:
    """Depth, width and heads of a stage."""

    depth: int
    dim: int
    heads: int

    def __str__(self) -> str:
        return f"{self.depth} x {self.dim} with {self.heads} head{'s' if self.heads > 1 else ''}"


def shapes(spec: ModelSpec) -> tuple[Shape, ...]:
    """Of each stage. Raises `UserError` for a model that cannot be resized."""
    if spec.whole is None:
        return tuple(Shape(stage.depth, stage.dim, stage.heads) for stage in spec.stages)
    return (_timm_shape(spec)[0],)


def described(spec: ModelSpec) -> str:
    """The sizes in words: "12 x 192 with 3 heads, patch 16, 224 px"."""
    return f"{'; '.join(map(str, shapes(spec)))}, patch {_patch_px(spec)}, {spec.size}"


def sizes_of(spec: ModelSpec, by: str) -> list[ModelSpec]:
    """The model in all sizes, in the order of growing size; its own is mostly among them.

    width        number and width of the heads together, where the width of a head may change by a quarter; all stages
                 in proportion
    depth        blocks; all stages in proportion
    patch        patches whose size divides the image
    resolution   images that the patch divides

    Some may make no model. Raises `UserError` for a way that is not among these, and a model that cannot be resized.
    """
    if by not in WAYS:
        raise unknown("way to resize a model", by, WAYS)
    return _RESIZED[by](spec)


def _widths(spec: ModelSpec) -> list[ModelSpec]:
    own = shapes(spec)
    heads, head = own[0].heads, own[0].dim // own[0].heads
    found: dict[tuple[int, ...], tuple[float, tuple[Shape, ...]]] = {}
    for h in range(1, _LARGEST * heads + 1):
        for k in range(math.ceil(head * (1 - _HEAD_WIDTH)), math.floor(head * (1 + _HEAD_WIDTH)) + 1):
            made = tuple(_widened(shape, h / heads, k / head) for shape in own)
            dims, far = tuple(shape.dim for shape in made), abs(k - head)
            if dims not in found or far < found[dims][0]:
                found[dims] = (far, made)
    ordered = sorted((made for _, made in found.values()), key=lambda made: sum(s.depth * s.dim**2 for s in made))
    return [_reshaped(spec, made, f"width {made[0].dim}") for made in ordered]


def _widened(shape: Shape, heads: float, head: float) -> Shape:
    count = max(1, round(shape.heads * heads))
    return Shape(shape.depth, count * max(1, round(shape.dim // shape.heads * head)), count)


def _depths(spec: ModelSpec) -> list[ModelSpec]:
    own = shapes(spec)
    total = sum(shape.depth for shape in own)
    made = dict.fromkeys(
        tuple(replace(shape, depth=max(1, round(shape.depth * blocks / total))) for shape in own)
        for blocks in range(1, _LARGEST * total + 1)
    )
    return [_reshaped(spec, one, f"depth {sum(shape.depth for shape in one)}") for one in made]


def _patches(spec: ModelSpec) -> list[ModelSpec]:
    return [
        _viewed(spec, patch_px, spec.square_px, f"patch {patch_px}")
        for patch_px in range(1, spec.square_px + 1)
        if spec.square_px % patch_px == 0
    ]


def _resolutions(spec: ModelSpec) -> list[ModelSpec]:
    patch_px = _patch_px(spec)
    return [
        _viewed(spec, patch_px, side * patch_px, f"{side * patch_px} px")
        for side in range(1, _LARGEST * spec.square_px // patch_px + 1)
    ]


_RESIZED: dict[str, Callable[[ModelSpec], list[ModelSpec]]] = {
    "width": _widths,
    "depth": _depths,
    "patch": _patches,
    "resolution": _resolutions,
}


def _reshaped(spec: ModelSpec, made: tuple[Shape, ...], what: str) -> ModelSpec:
    name = f"{spec.name} ({what})"
    if spec.whole is None:
        stages = zip(spec.stages, made, strict=True)
        return replace(
            spec,
            name=name,
            stages=tuple(replace(stage, depth=s.depth, dim=s.dim, heads=s.heads) for stage, s in stages),
        )
    (shape,) = made
    sizes = {"depth": shape.depth, "embed_dim": shape.dim, "num_heads": shape.heads}
    return replace(spec, name=name, whole=Part.of("timm", **(dict(spec.whole.options) | sizes)))


def _viewed(spec: ModelSpec, patch_px: int, image_px: int, what: str) -> ModelSpec:
    """With other patches or images. Options that follow from their number, such as Linformer's length, follow."""
    name = f"{spec.name} ({what})"
    if spec.whole is not None:
        options = dict(spec.whole.options) | {"patch_size": patch_px}
        return replace(spec, name=name, image_px=image_px, whole=Part.of("timm", **options))
    match = _NAMED.fullmatch(spec.name)
    if match and _has_its_name(spec):
        follows = resolve(f"{match['rest']}{patch_px}_{image_px}", in_chans=spec.in_chans, num_classes=spec.num_classes)
        return replace(follows, name=name)
    return replace(spec, name=name, patch_px=patch_px, image_px=image_px)


@cache
def _has_its_name(spec: ModelSpec) -> bool:
    """Whether the catalog makes this spec of its name, for its channels and classes."""
    try:
        return resolve(spec.name, in_chans=spec.in_chans, num_classes=spec.num_classes).key == spec.key
    except UserError:
        return False


def _patch_px(spec: ModelSpec) -> int:
    return spec.patch_px if spec.whole is None else _timm_shape(spec)[1]


@cache
def _timm_shape(spec: ModelSpec) -> tuple[Shape, int]:
    """Of a ViT of timm: its one stage, and the side of a patch in pixels."""
    from timm.models.vision_transformer import VisionTransformer

    model = build(spec, device="meta")
    if not isinstance(model, VisionTransformer):
        raise UserError(
            f"{spec.name} cannot be resized: only models on the skeleton and timm's VisionTransformers take sizes; "
            "name such a model first"
        )
    patch_px = model.patch_embed.patch_size[0]
    return Shape(len(model.blocks), model.embed_dim, model.blocks[0].attn.num_heads), patch_px
