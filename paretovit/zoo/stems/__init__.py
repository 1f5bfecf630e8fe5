"""Stems: how an image becomes tokens. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.tokens import Grid


class Stem(nn.Module, ABC):
    """Image (B, C, H, W) to patch tokens (B, rows x columns, D).

    A subclass takes `(in_chans, dim, image_px, patch_px, *, its options)`, sets `grid` and states

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


def check_divides(image_px: int, patch_px: int) -> None:
    """Raises `UserError` for a patch that does not divide the image."""
    if image_px % patch_px:
        down, up = image_px // patch_px * patch_px, -(-image_px // patch_px) * patch_px
        near = f"{down} or {up}" if down else str(up)
        raise UserError(f"image size {image_px} is not divisible by the patch size {patch_px}; use {near} px")
