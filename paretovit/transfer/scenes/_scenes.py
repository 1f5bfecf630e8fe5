"""What detection data give: pictures, and the boxes in them.

Shapes   N images, M boxes in the image that has most, B images of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from paretovit.errors import UserError
from paretovit.training.data import Examples
from paretovit.transfer.average_precision import Truth


@dataclass(frozen=True)
class Objects:
    """What is in one picture of `width` x `height` pixels: for each object a box as left, top, width and height in
    pixels, its class from 0, its area in pixels, and whether it is a crowd."""

    width: int
    height: int
    boxes: Sequence[tuple[float, float, float, float]] = ()
    classes: Sequence[int] = ()
    areas: Sequence[float] = ()
    crowds: Sequence[bool] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenes(Examples):
    """Images with boxes, which are filled up to M with boxes of class -1.

    labels  (N, M, 5): class, and the box as centre, width and height, in shares of the image
    areas   (N, M), in pixels of the picture as it was
    crowds  (N, M), True for boxes around more than one object: nothing is learnt of them
    sizes   (N, 2): width and height of the picture as it was
    """

    areas: Tensor
    crowds: Tensor
    sizes: Tensor

    per_image: ClassVar[tuple[str, ...]] = ("labels", "areas", "crowds", "sizes")

    @property
    def strata(self) -> Tensor:
        """All are of one kind: an image has objects of many classes, or none."""
        return torch.zeros(len(self), dtype=torch.int64)

    def targets(self, index: Tensor) -> Tensor:
        """(B, M, 5): the labels, crowds left out."""
        found = self.labels[index].clone()
        found[..., 0][self.crowds[index]] = -1
        return found

    def mirrored(self, targets: Tensor, which: Tensor) -> Tensor:
        turned = targets.clone()
        turned[..., 1] = 1 - turned[..., 1]
        return torch.where(which.to(targets.device)[:, None, None], turned, targets)

    @property
    def truths(self) -> list[Truth]:
        """What is in each picture, in its own pixels."""
        boxes = in_pixels(self.labels[..., 1:].double(), self.sizes)
        there = self.labels[..., 0] >= 0
        return [
            Truth(
                boxes=boxes[i][there[i]].numpy(),
                classes=self.labels[i, :, 0][there[i]].long().numpy(),
                areas=self.areas[i][there[i]].double().numpy(),
                crowds=self.crowds[i][there[i]].numpy(),
            )
            for i in range(len(self))
        ]


def in_pixels(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (N, M, 4) as centre, width and height in shares of images, as left, top, width and height in pixels of
    images of `sizes` (N, 2), width and height."""
    centre, side = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - side / 2, side), dim=-1) * sizes.to(boxes).repeat(1, 2)[:, None]


def gathered(objects: Sequence[Objects], kept: Tensor, where: str) -> dict[str, Tensor]:
    """The fields of `Scenes` but for the pictures, of the images of `kept` (N,).

    Raises `UserError` if there is no object at all in them.
    """
    chosen = [objects[at] for at in kept.tolist()]
    most = max((len(one.classes) for one in chosen), default=0)
    if not any(not crowd for one in chosen for crowd in one.crowds):
        raise UserError(f"{where} has no box to be found; give data with objects in them")
    labels = np.zeros((len(chosen), most, 5), dtype=np.float64)
    labels[..., 0] = -1
    areas, crowds = np.zeros((len(chosen), most)), np.zeros((len(chosen), most), dtype=bool)
    sizes = np.array([(one.width, one.height) for one in chosen], dtype=np.int64)
    for row, one in enumerate(chosen):
        if not one.classes:
            continue
        count = len(one.classes)
        left, top, width, height = np.array(one.boxes, dtype=np.float64).T
        labels[row, :count, 0] = one.classes
        labels[row, :count, 1:3] = np.stack((left + width / 2, top + height / 2), axis=1) / sizes[row]
        labels[row, :count, 3:] = np.stack((width, height), axis=1) / sizes[row]
        areas[row, :count], crowds[row, :count] = one.areas, one.crowds
    return {
        "labels": torch.from_numpy(labels).float(),
        "areas": torch.from_numpy(areas),
        "crowds": torch.from_numpy(crowds),
        "sizes": torch.from_numpy(sizes),
    }


def squeezed(picture: Image.Image, px: int) -> Image.Image:
    """The whole picture scaled (bicubic) to a square of `px` pixels a side, whatever its sides were: boxes in shares of
    the image stay as they are."""
    return picture if picture.size == (px, px) else picture.resize((px, px), Image.Resampling.BICUBIC)
