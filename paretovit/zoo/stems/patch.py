"""Non-overlapping patches, each mapped linearly to a token.

Paper    Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", eq. 1.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from paretovit.zoo.stems import Stem, check_divides


class Patch(Stem):
    """A convolution whose kernel is its stride."""

    first_conv = "proj"

    def __init__(self, in_chans: int, dim: int, image_px: int, patch_px: int) -> None:
        super().__init__()
        check_divides(image_px, patch_px)
        side = image_px // patch_px
        self.grid = (side, side)
        self.proj = nn.Conv2d(in_chans, dim, patch_px, patch_px)
        self.image_px = image_px

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).mT

    def macs(self) -> int:
        return math.prod(self.grid) * self.proj.weight.numel()
