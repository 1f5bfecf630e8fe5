"""Non-overlapping patches, each mapped linearly to a token.

Paper    Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", eq. 1.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.stems import Stem


class Patch(Stem):
    """A convolution whose kernel is its stride."""

    def __init__(self, in_chans: int, dim: int, image_px: int, patch_px: int) -> None:
        super().__init__()
        if image_px % patch_px:
            down, up = image_px // patch_px * patch_px, -(-image_px // patch_px) * patch_px
            near = f"{down} or {up}" if down else str(up)
            raise UserError(f"image size {image_px} is not divisible by the patch size {patch_px}; use {near} px")
        side = image_px // patch_px
        self.grid = (side, side)
        self.proj = nn.Conv2d(in_chans, dim, patch_px, patch_px)
        self.image_px = image_px

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).mT

    def macs(self) -> int:
        return math.prod(self.grid) * self.proj.weight.numel()
