"""A part of the digits data, so that a test trains in a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from paretovit.training.data import Data, Images, Source
from paretovit.training.data.digits import Digits


@dataclass(frozen=True)
class FewDigits(Source):
    """The first so many digits of each split, at `image_px` whatever is asked for where that is given."""

    train: int
    val: int
    image_px: int | None = None

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        images = Digits().read(path, split, img_size=self.image_px or img_size, in_chans=in_chans)
        return images.part(torch.arange(self.train if split == "train" else self.val))


def few_digits(train: int, val: int, image_px: int | None = None) -> Data:
    return Data(FewDigits(train, val, image_px), "", None, None)
