"""scikit-learn's 1,797 handwritten digits: real, and on every machine without a download."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from paretovit.errors import UserError
from paretovit.training.data import Images, Source

SPLIT_SEED = 0
PX = 8
# over the training split, of values scaled to go from 0 to 1
MEAN, STD = 0.3054, 0.3760


class Digits(Source):
    """Handwritten digits, 10 classes, 8 x 8 pixels, grey: 1,437 to train on and 360 to validate.

    Data     Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI repository (its test part,
             which is what scikit-learn ships). 13 people wrote these; the split is not by writer.
    Split    stratified by class, 80 to 20, shuffled with seed 0: the same on every machine.
    Size     a larger `img_size` scales up (bilinear), which adds no information; a smaller one is refused.
             With `in_chans=3` the grey values are repeated.
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        if path:
            raise UserError(f"digits takes nothing after its name, got {path!r}; write digits")
        px, channels = img_size or PX, in_chans or 1
        if px < PX:
            raise UserError(f"digits are {PX} x {PX} pixels and not made smaller; give an image size of {PX} or more")
        digits = load_digits()
        halves = train_test_split(
            digits.images, digits.target, test_size=0.2, random_state=SPLIT_SEED, stratify=digits.target
        )
        images, labels = (halves[0], halves[2]) if split == "train" else (halves[1], halves[3])
        grey = torch.from_numpy(images).float()[:, None] * (255 / 16)  # stored as 0 to 16
        if px != PX:
            grey = F.interpolate(grey, size=(px, px), mode="bilinear", align_corners=False)
        return Images(
            name="digits",
            split=split,
            pixels=grey.round().to(torch.uint8).repeat(1, channels, 1, 1),
            labels=torch.from_numpy(labels).long(),
            class_names=tuple(str(name) for name in digits.target_names),
            mean=(MEAN,) * channels,
            std=(STD,) * channels,
            may_flip=False,
        )
