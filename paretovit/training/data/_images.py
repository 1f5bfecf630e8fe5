"""What a source gives, and what a source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from paretovit.errors import UserError
from paretovit.training.data._pictures import Unread
from paretovit.zoo.videos import FRAMES

# timm's defaults for colour images; for grey ones the mean over the three channels
COLOUR = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = ((0.449,), (0.226,))


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples(ABC):
    """One split of a data set: images, and what is to be said of each.

    name         of the set, as rows name it: without the folders above it, which differ from machine to machine
    pixels       (N, C, H, W) uint8, H = W: in memory, or made when they are asked for; clips of T frames are
                 (N, C, T, H, W), and all that is said of an image here is meant of a clip too
    labels       what is to be said, an entry for each image; in which form says the subclass
    mean, std    of a channel whose values go from 0 to 1; one number per channel
    real         False for made-up images, of which no accuracy is ever stated
    may_flip     False where a mirrored image would be of another class
    per_image    the fields beside the pixels that have an entry for each image
    """

    per_image: ClassVar[tuple[str, ...]] = ("labels",)

    name: str
    split: str
    pixels: Tensor | Unread
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    real: bool = True
    may_flip: bool = True

    @property
    @abstractmethod
    def strata(self) -> Tensor:
        """(N,) int64, from 0 to below the number of classes: of each kind a part of the images has its share."""

    @abstractmethod
    def targets(self, index: Tensor) -> Tensor:
        """What a training step is told of the images of `index` (M,): an entry for each."""

    @abstractmethod
    def mirrored(self, targets: Tensor, which: Tensor) -> Tensor:
        """The targets of images of which those are mirrored, left to right, for which `which` (M,) holds."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, index: Tensor, split: str | None = None) -> Self:
        """The images of `index` (M,), in its order, as a split of that name."""
        pixels = self.pixels[index] if isinstance(self.pixels, Tensor) else self.pixels.part(index)
        entries = {name: getattr(self, name)[index] for name in self.per_image}
        return replace(self, split=split or self.split, pixels=pixels, **entries)

    def pictures(self, at: int) -> list[Image.Image]:
        """One image alone, or the frames of one clip, grey or RGB: at its own size where it is read from a file, else
        as it is held."""
        if not isinstance(self.pixels, Tensor):
            return self.pixels.pictures(at)
        one = self.pixels[at]
        return [to_pil_image(frame) for frame in ([one] if self.frames is None else one.unbind(1))]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_chans(self) -> int:
        return self.pixels.shape[1]

    @property
    def frames(self) -> int | None:
        """Of a clip; None for images."""
        return self.pixels.shape[2] if len(self.pixels.shape) > 4 else None

    @property
    def image_px(self) -> int:
        return self.pixels.shape[-1]

    def normalised(self, pixels: Tensor) -> Tensor:
        """Bytes (B, C, ...) as the float32 that models are given."""
        of_a_channel = (-1, *(1 for _ in pixels.shape[2:]))
        mean, std = (torch.tensor(v, device=pixels.device).view(of_a_channel) for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


@dataclass(frozen=True, kw_only=True, eq=False)
class Images(Examples):
    """Images that are each of one class: labels (N,) int64, from 0."""

    def __post_init__(self) -> None:
        wrong = ((self.labels < 0) | (self.labels >= self.num_classes)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise UserError(
                f"{self.name}, {self.split}, image {row}: label {int(self.labels[row])} is not one of the "
                f"{self.num_classes} classes; correct it or take the image out"
            )

    @property
    def strata(self) -> Tensor:
        return self.labels

    def targets(self, index: Tensor) -> Tensor:
        return self.labels[index]

    def mirrored(self, targets: Tensor, which: Tensor) -> Tensor:
        return targets

    def of_classes(self, classes: Sequence[int]) -> Images:
        """The images of these classes, which are numbered anew from 0, under a name that says so.

        Raises `UserError` for a class that there is not, or that is named twice.
        """
        wrong = [number for number in classes if not 0 <= number < self.num_classes]
        if wrong or len(set(classes)) != len(classes) or not classes:
            what = f"no class {wrong[0]}" if wrong else "none, or one twice"
            raise UserError(f"classes of {self.name}: {what}; they are numbered from 0 to {self.num_classes - 1}")
        number = torch.full((self.num_classes,), -1)
        number[list(classes)] = torch.arange(len(classes))
        part = self.part((number[self.labels] >= 0).nonzero()[:, 0])
        names = tuple(self.class_names[old] for old in classes)
        told = f"{self.name}[{in_words(classes)}]"
        return replace(part, name=told, labels=number[part.labels], class_names=names)


def in_words(numbers: Sequence[int]) -> str:
    """ "0-4,7" for 0, 1, 2, 3, 4 and 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


class Source(ABC):
    """A kind of data set: how one split of it is read. With `skip_unreadable`, pictures that cannot be read are left
    out and named on standard error. Where its images are clips, they have so many `frames`."""

    skip_unreadable: bool = False
    frames: int = FRAMES

    @abstractmethod
    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        """The split "train" or "val" of the set that `path` (what follows the first "/") names.

        `None` asks for the size or the channels that the images have. Raises `UserError` for what cannot be
        read, with the image's file or row in it.
        """
