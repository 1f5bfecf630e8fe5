"""Random pictures with random labels, to time training and to try it out."""

from __future__ import annotations

import torch

from paretovit.errors import UserError
from paretovit.training.data import COLOUR, GREY, Images, Source

COUNT = {"train": 512, "val": 256}
SEED = {"train": 0, "val": 1}


class Fake(Source):
    """Noise: `fake` has 10 classes, `fake/1000` has 1,000. There is nothing to learn, so no row states an accuracy.

    512 images to train on and 256 to validate, of 224 pixels and 3 channels unless asked otherwise.
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        if path and not (path.isdecimal() and int(path) > 0):
            raise UserError(f"fake/{path}: what follows the / is the number of classes; write such as fake/1000")
        num_classes, channels, px = int(path or 10), in_chans or 3, img_size or 224
        random = torch.Generator().manual_seed(SEED[split])
        mean, std = GREY if channels == 1 else COLOUR
        return Images(
            name=f"fake/{num_classes}",
            split=split,
            pixels=torch.randint(256, (COUNT[split], channels, px, px), generator=random, dtype=torch.uint8),
            labels=torch.randint(num_classes, (COUNT[split],), generator=random),
            class_names=tuple(str(index) for index in range(num_classes)),
            mean=mean,
            std=std,
            real=False,
        )
