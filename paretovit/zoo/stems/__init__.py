"""Stems: how an image becomes tokens. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import Pixels, rows_and_columns
from paretovit.zoo.tokens import Grid


class Stem(nn.Module, ABC):
    """Image (B, C, H, W) to patch tokens (B, rows x columns, D).

    A subclass takes `(in_chans, dim, image_px, patch_px, *, its options)`, where `image_px` is a side or (rows,
    columns), sets `grid` and states

    first_conv   the name in it of the layer that sees the image

    Raises `UserError` for an image size that it cannot cut.
    """

    first_conv: ClassVar[str]
    grid: Grid

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Patch tokens, row after row."""

    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates for one image; closed form."""


def cut(image_px: Pixels, patch_px: int) -> Grid:
    """Rows and columns of patches. Raises `UserError` for a patch that does not divide the image."""
    sides = rows_and_columns(image_px)
    for side in sides:
        if side % patch_px:
            down, up = side // patch_px * patch_px, -(-side // patch_px) * patch_px
            near = f"{down} or {up}" if down else str(up)
            raise UserError(f"image size {side} is not divisible by the patch size {patch_px}; use {near} px")
    return tuple(side // patch_px for side in sides)
