"""What a source gives, and what a source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from paretovit.errors import UserError

# timm's defaults for colour images; for grey ones the mean over the three channels
COLOUR = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = ((0.449,), (0.226,))


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """One split of a data set.

    name         of the set, as rows name it: without the folders above it, which differ from machine to machine
    pixels       (N, C, H, W) uint8, H = W
    labels       (N,) int64, from 0
    mean, std    of a channel whose values go from 0 to 1; one number per channel
    real         False for made-up images, of which no accuracy is ever stated
    may_flip     False where a mirrored image would be of another class
    """

    name: str
    split: str
    pixels: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    real: bool = True
    may_flip: bool = True

    def __post_init__(self) -> None:
        wrong = ((self.labels < 0) | (self.labels >= self.num_classes)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise UserError(
                f"{self.name}, {self.split}, image {row}: label {int(self.labels[row])} is not one of the "
                f"{self.num_classes} classes; correct it or take the image out"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_chans(self) -> int:
        return self.pixels.shape[1]

    @property
    def image_px(self) -> int:
        return self.pixels.shape[2]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Bytes (B, C, H, W) as the float32 that models are given."""
        mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


class Source(ABC):
    """A kind of data set: how one split of it is read."""

    @abstractmethod
    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        """The split "train" or "val" of the set that `path` (what follows the first "/") names.

        `None` asks for the size or the channels that the images have. Raises `UserError` for what cannot be
        read, with the image's file or row in it.
        """
