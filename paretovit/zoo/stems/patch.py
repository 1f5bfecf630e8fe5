"""Patches, each mapped linearly to a token.

Paper    Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", eq. 1; overlapping in Heo et al. 2021, "Rethinking
         Spatial Dimensions of Vision Transformers" (PiT).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.stems import Stem, check_divides


class Patch(Stem):
    """A convolution whose kernel is the patch and its stride too, unless `stride` is shorter: then patches overlap.

    Raises `UserError` for an image that is not cut without a rest, and for a stride that would skip pixels.
    """

    first_conv = "proj"

    def __init__(self, in_chans: int, dim: int, image_px: int, patch_px: int, *, stride: int | None = None) -> None:
        super().__init__()
        if stride is None:
            stride = patch_px
            check_divides(image_px, patch_px)
        elif not 1 <= stride <= patch_px:
            raise UserError(f"patch stem: the stride must lie between 1 and the patch {patch_px}, got {stride}")
        elif image_px < patch_px or (image_px - patch_px) % stride:
            near = patch_px + max(0, image_px - patch_px) // stride * stride
            raise UserError(
                f"image size {image_px} is not cut into patches of {patch_px} every {stride} px without a rest; use "
                f"{near} or {near + stride} px"
            )
        side = (image_px - patch_px) // stride + 1
        self.grid = (side, side)
        self.proj = nn.Conv2d(in_chans, dim, patch_px, stride)
        self.image_px = image_px

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).mT

    def macs(self) -> int:
        return math.prod(self.grid) * self.proj.weight.numel()
