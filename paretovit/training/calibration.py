"""Real images for int8: what the scales of its integers are read off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.data import open_data


@dataclass(frozen=True)
class CalibrationImages:
    """`count` images of the training split of `data`, drawn once for all models. Labels are not looked at, so the
    model may be for other classes.

    Raises `UserError` for data that there are not.
    """

    data: str
    count: int = 128

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"int8 takes at least one image to calibrate on, got {self.count}")
        open_data(self.data)

    @property
    def name(self) -> str:
        """As rows name them: without the folders above a local set, which differ from machine to machine."""
        return f"{self.count} images of {open_data(self.data).train.name}, train"

    def __call__(self, spec: ModelSpec) -> Tensor:
        """(count, C, H, W) float32, at the size and in the channels of the model, normalised.

        Raises `UserError` for made-up images and for fewer than are asked for.
        """
        if len(spec.input_shape) != 3:
            raise UserError(f"{spec.name} takes videos, and int8 is calibrated on images; leave --dtype int8 out")
        images = open_data(self.data, img_size=spec.square_px, in_chans=spec.in_chans).train
        if not images.real:
            raise UserError(f"int8 is calibrated on real images, and those of {images.name} are made up; give others")
        if len(images) < self.count:
            raise UserError(f"{images.name} has {len(images)} training images, and {self.count} calibrate int8")
        drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: self.count]
        return images.normalised(images.pixels[drawn.sort().values])
