"""What a model is: a value that can be compared, hashed, stored and changed. No torch.

A spec says which parts a model is made of and nothing about how it is trained, so drop-path and other
regularisation are arguments of `build`, not fields here: two runs of one architecture share its key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from paretovit.errors import UserError

Pixels = int | tuple[int, int]  # the side of a square image, or (rows, columns)


def pixels(text: str) -> Pixels:
    """The image size that "224" or, in rows and columns, "224x320" names. Raises `UserError` for other text."""
    sides = text.lower().split("x")
    if not (1 <= len(sides) <= 2 and all(side.isdecimal() for side in sides)):
        raise UserError(f"cannot read the image size {text!r}; write pixels as 224, or rows x columns as 224x320")
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else int(sides[0])


def rows_and_columns(size: Pixels) -> tuple[int, int]:
    """Of an image, in pixels."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Part:
    """A file name in a folder of the zoo, and the options its class is made with."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, name: str, **options: Any) -> Part:
        """`Part.of("linformer", length=64)`; options are kept sorted, so that equal parts are equal."""
        return cls(name, tuple(sorted(options.items())))

    def __str__(self) -> str:
        return self.name + (f"({', '.join(f'{k}={v}' for k, v in self.options)})" if self.options else "")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Blocks of one width. The three slots `sequence`, `mixer`, `mlp` are the taxonomy: a model's place in
    it is read off its spec. `between` is what leads from the stage before (or the stem) into this one. With `share`
    there is one block, applied `depth` times. With `mlp=None` its blocks are a mixer alone. `layer_scale` is the
    model's unless stated. `class_tokens` go through the blocks "among" the patches; or they are set "aside" before
    `between` and put back behind the last block, as they were or "mixed", once they have heard the patches. With
    `width` the blocks, whose `heads` are meant, are as wide as that and the stage is not: one linear map of every token
    leads into them and one out."""

    depth: int
    dim: int
    heads: int
    sequence: Part = Part("keep_all")
    mixer: Part = Part("attention")
    mlp: Part | None = Part("mlp")
    between: Part = Part("straight")
    share: bool = False
    layer_scale: float | None = None
    class_tokens: str = "among"
    width: int | None = None

    @property
    def of_blocks(self) -> Stage:
        """The same stage as its blocks see it, which know nothing of another width around them."""
        return self if self.width is None else replace(self, dim=self.width, width=None)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model. `whole` names a model that refuses the backbone (timm's, the user's own); then `stages` is empty, or has
    the stages of ours that are in it.

    norm, final_norm   in every block before mixer and MLP, and once before or after the read-out
    mlp_residual       what the MLP's result is added to: "tokens", "normed" tokens as in the Compact Transformer, or
                       what entered the "block": one residual around mixer and MLP together
    init               how new weights are drawn, a name in `zoo/initialise.py`
    image_px           the side of square images, or (rows, columns) of others; equal ones become the side
    """

    name: str
    stages: tuple[Stage, ...] = ()
    stem: Part = Part("patch")
    position: Part = Part("learned")
    readout: Part = Part("class_token")
    layer_scale: float | None = None
    norm: Part = Part("layer_norm")
    final_norm: Part = Part("layer_norm")
    mlp_residual: str = "tokens"
    init: str = "glorot"
    image_px: Pixels = 224
    patch_px: int = 16
    in_chans: int = 3
    num_classes: int = 1000
    transforms: tuple[Part, ...] = ()
    whole: Part | None = None

    def __post_init__(self) -> None:
        sides = (self.image_px,) if isinstance(self.image_px, int) else self.image_px
        if len(sides) > 2:
            raise UserError(f"{self.name}: image_px is a side, or (rows, columns), got {self.image_px}")
        if min(sides) < 1:
            raise UserError(f"{self.name}: image_px must be at least 1, got {self.image_px}")
        if sides[0] == sides[-1]:
            object.__setattr__(self, "image_px", sides[0])
        if self.in_chans < 1:
            raise UserError(f"{self.name}: in_chans must be at least 1, got {self.in_chans}")
        if self.num_classes < 0:
            raise UserError(f"{self.name}: num_classes must be 0 (features only) or more, got {self.num_classes}")
        if self.whole is None:
            if not self.stages:
                raise UserError(f"{self.name}: a spec needs at least one stage, or a `whole`")
            if self.mlp_residual not in ("tokens", "normed", "block"):
                raise UserError(
                    f"{self.name}: mlp_residual must be 'tokens', 'normed' or 'block', got {self.mlp_residual!r}"
                )
            if self.patch_px < 1:
                raise UserError(f"{self.name}: patch_px must be at least 1, got {self.patch_px}")
            for stage in self.stages:
                if min(stage.depth, stage.dim, stage.heads, stage.of_blocks.dim) < 1:
                    raise UserError(f"{self.name}: depth, dim and heads must be at least 1, and a width, got {stage}")
                if stage.class_tokens not in ("among", "aside", "mixed"):
                    raise UserError(
                        f"{self.name}: class_tokens must be 'among', 'aside' or 'mixed', got {stage.class_tokens!r}"
                    )

    @property
    def frames(self) -> int | None:
        """Of one video, which a stem with an option `frames` takes; None for a model of images."""
        return dict(self.stem.options).get("frames")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image (channels, rows, columns), or of one video (channels, frames, rows, columns)."""
        frames = () if self.frames is None else (self.frames,)
        return (self.in_chans, *frames, *rows_and_columns(self.image_px))

    @property
    def size(self) -> str:
        """Of its images, in words: "224 px", or "224 x 320 px" in rows and columns."""
        return f"{' x '.join(map(str, dict.fromkeys(rows_and_columns(self.image_px))))} px"

    @property
    def square_px(self) -> int:
        """The side of its images, for what works on square ones alone. Raises `UserError` if they are not."""
        if isinstance(self.image_px, int):
            return self.image_px
        raise UserError(f"{self.name} is for images of {self.size}; this takes square ones, so give it one image side")

    @cached_property
    def key(self) -> str:
        """A hash of all but the name: equal keys are equal models, whatever they are called."""
        content = to_json(self)
        del content["name"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_json(value: Any) -> Any:
    """A spec as plain JSON values; `from_json` reads it back to an equal spec.

    What has its default value is left out, so a field that is added later changes no key of a model without it.
    """
    if isinstance(value, Part):
        return {"part": value.name, **({"options": {k: to_json(v) for k, v in value.options}} if value.options else {})}
    if isinstance(value, Stage | ModelSpec):
        given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
        return {name: to_json(v) for name, v in given.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise UserError(f"a spec holds numbers, words and tuples of them, not {value!r}")


def from_json(content: dict[str, Any]) -> ModelSpec:
    """The spec written by `to_json`. Raises `UserError` for anything else."""
    try:
        values = dict(content)
        values["stages"] = tuple(_stage(stage) for stage in values.get("stages", ()))
        values["image_px"] = _freeze(values.get("image_px", ModelSpec.image_px))
        values["transforms"] = tuple(_part(v) for v in values.get("transforms", ()))
        for field in ("stem", "position", "readout", "norm", "final_norm", "whole"):
            if values.get(field) is not None:
                values[field] = _part(values[field])
        return ModelSpec(**values)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"not a model spec of this version: {error}") from error


def _stage(content: dict[str, Any]) -> Stage:
    values: dict[str, Any] = {k: _part(v) if isinstance(v, dict) else v for k, v in content.items()}
    return Stage(**values)


def _part(content: dict[str, Any]) -> Part:
    return Part.of(content["part"], **{k: _freeze(v) for k, v in content.get("options", {}).items()})


def _freeze(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_freeze(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, _freeze(v)) for k, v in value.items()))
    return value
