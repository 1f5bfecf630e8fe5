"""Patches, each mapped linearly to a token.

Paper    Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", eq. 1; overlapping in Heo et al. 2021, "Rethinking
         Spatial Dimensions of Vision Transformers" (PiT).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import Pixels, rows_and_columns
from paretovit.zoo.stems import Stem, cut


class Patch(Stem):
    """A convolution whose kernel is the patch and its stride too, unless `stride` is shorter: then patches overlap.

    Raises `UserError` for an image that is not cut without a rest, and for a stride that would skip pixels.
    """

    first_conv = "proj"

    def __init__(self, in_chans: int, dim: int, image_px: Pixels, patch_px: int, *, stride: int | None = None) -> None:
        super().__init__()
        if stride is None:
            stride = patch_px
            cut(image_px, patch_px)
        elif not 1 <= stride <= patch_px:
            raise UserError(f"patch stem: the stride must lie between 1 and the patch {patch_px}, got {stride}")
        for side in rows_and_columns(image_px):
            if side < patch_px or (side - patch_px) % stride:
                near = patch_px + max(0, side - patch_px) // stride * stride
                raise UserError(
                    f"image size {side} is not cut into patches of {patch_px} every {stride} px without a rest; use "
                    f"{near} or {near + stride} px"
                )
        self.grid = tuple((side - patch_px) // stride + 1 for side in rows_and_columns(image_px))
        self.proj = nn.Conv2d(in_chans, dim, patch_px, stride)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).mT

    def macs(self) -> int:
        return math.prod(self.grid) * self.proj.weight.numel()
