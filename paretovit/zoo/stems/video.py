"""Videos: the frames one by one, each cut into patches.

Paper    Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (TimeSformer), sec. 3.
Shapes   B videos, C channels, T frames, N patches of all frames, D width.
"""

from __future__ import annotations

from torch import Tensor

from paretovit.errors import UserError
from paretovit.spec import Pixels
from paretovit.zoo.stems import Stem
from paretovit.zoo.stems.patch import Patch


class Video(Stem):
    """Videos (B, C, `frames`, H, W) to tokens on a grid of frames, rows and columns.

    Raises `UserError` for no frame.
    """

    first_conv = "patch.proj"

    def __init__(self, in_chans: int, dim: int, image_px: Pixels, patch_px: int, *, frames: int) -> None:
        super().__init__()
        if frames < 1:
            raise UserError(f"video stem: a video has at least one frame, got {frames}")
        self.patch = Patch(in_chans, dim, image_px, patch_px)
        self.frames, self.grid = frames, (frames, *self.patch.grid)

    def forward(self, image: Tensor) -> Tensor:
        frames = image.transpose(1, 2).flatten(0, 1)
        return self.patch(frames).unflatten(0, (-1, self.frames)).flatten(1, 2)

    def macs(self) -> int:
        return self.frames * self.patch.macs()
