"""Labelled images by name: `digits`, `hfds/PATH`, `torch/cifar10`, `fake`, or a folder of class folders; and labelled
clips: `videos/PATH`, or `moving/DATA`, made of the pictures of other data.

The word before the first "/" is a file here. Both splits of a set are held in memory, as one tensor of bytes
each, so that augmentation works on whole batches and a tiny model is not kept waiting by a loader. Pictures that do
not fit are read when they are asked for, by worker processes if the run has some.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from paretovit.errors import UserError, unknown
from paretovit.folder import Folder
from paretovit.training.data._images import COLOUR, GREY, Examples, Images, Source
from paretovit.training.data._pictures import Pictures, Unread
from paretovit.zoo.videos import FRAMES

__all__ = [
    "COLOUR",
    "DATA",
    "GREY",
    "Data",
    "Examples",
    "Images",
    "Pictures",
    "Source",
    "Splits",
    "Unread",
    "open_data",
]

DATA: Folder[Source] = Folder("paretovit.training.data", "data")


class Splits(Protocol):
    """What is trained on, and what is judged by."""

    @property
    def train(self) -> Examples: ...

    @property
    def val(self) -> Examples: ...


@dataclass(frozen=True)
class Data:
    """A data set; its splits are read when they are first asked for."""

    source: Source
    path: str
    img_size: int | None
    in_chans: int | None
    classes: tuple[int, ...] | None = None

    @cached_property
    def train(self) -> Images:
        return self._read("train")

    @cached_property
    def val(self) -> Images:
        return self._read("val")

    def _read(self, split: str) -> Images:
        images = self.source.read(self.path, split, img_size=self.img_size, in_chans=self.in_chans)
        return images if self.classes is None else images.of_classes(self.classes)


def open_data(
    name: str,
    *,
    img_size: int | None = None,
    in_chans: int | None = None,
    classes: str | None = None,
    skip_unreadable: bool = False,
    frames: int | None = None,
) -> Data:
    """The data set of that name, its images brought to `img_size` pixels and `in_chans` channels, its clips to so many
    `frames` (8 unless told), only those of `classes` (such as "0-4,7") if any are given.

    A name that is no source but a folder on disk is read as a folder of `train/` and `val/`. With `skip_unreadable`
    pictures that cannot be read are named and left out. Raises `UserError` for an unknown name; what is wrong inside
    the set shows when a split is first asked for.
    """
    if img_size is not None and img_size < 1:
        raise UserError(f"image size must be at least 1, got {img_size}")
    if in_chans not in (None, 1, 3):
        raise UserError(f"images have 1 channel (grey) or 3 (RGB), not {in_chans}; give one of these")
    if frames is not None and frames < 1:
        raise UserError(f"a clip has at least one frame, got {frames}")
    prefix, _, path = name.partition("/")
    found = prefix.lower() in DATA
    if found or Path(name).is_dir():
        source = DATA[prefix.lower() if found else "folder"]()
        source.skip_unreadable = skip_unreadable
        source.frames = FRAMES if frames is None else frames
        return Data(source, path if found else name, img_size, in_chans, _numbers(classes))
    if "/" in name:
        raise UserError(f"no data {name!r}: neither a folder nor one of {', '.join(DATA.names())} before the first '/'")
    raise unknown("data", name, DATA.names())


def _numbers(classes: str | None) -> tuple[int, ...] | None:
    """The numbers in "0-4,7"."""
    if classes is None:
        return None
    numbers: list[int] = []
    for part in classes.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(f"cannot read the classes {classes!r}; write numbers and ranges, such as 0-4,7")
        numbers += range(int(first), int(last if dash else first) + 1)
    return tuple(numbers)
