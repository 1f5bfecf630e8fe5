"""Picture files, and clips of pictures, become bytes, all at once or one by one; whatever cannot be read is named.

Modes    Every mode of Pillow becomes grey or RGB: palettes are looked up, transparency is dropped as timm drops it,
         CMYK is converted by Pillow, and 16-bit grey is divided by 257 (Pillow itself would cut it off at 255).
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from paretovit.errors import UserError

Fit = Callable[[Image.Image, int], Image.Image]  # a picture and a side to the picture with both sides of that length

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
_NAMED = 10  # so many of the pictures that are left out are named, the others counted


@dataclass(frozen=True)
class Clip:
    """A clip that is not read yet: `read` gives its frames in order, or raises `OSError` or `ValueError`."""

    read: Callable[[], list[Image.Image]]


class Unread(ABC):
    """Pictures that are made when they are asked for: `unread[index]` is a tensor of bytes (M, C, px, px), or of clips
    (M, C, T, px, px)."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """That of the tensor of all."""

    @abstractmethod
    def part(self, index: Tensor) -> Self:
        """Those of `index`, still unread."""

    @abstractmethod
    def pictures(self, at: int) -> list[Image.Image]:
        """One of them at its own size, grey or RGB: a picture alone, or a clip's frames in order. Raises `UserError` if
        it cannot be read."""

    @abstractmethod
    def __getitem__(self, index: Tensor | slice) -> Tensor: ...


class Pictures(Unread):
    """Pictures that are decoded when they are asked for, or with `frames` clips of so many pictures.

    `read(index)` gives a picture, an open file or a `Clip`, and its label; `where(index)` names it in messages; `fit`
    brings a picture of another size to px x px. By default it is scaled (bicubic) until its shorter side fits, and its
    middle is cut out.
    """

    def __init__(
        self,
        read: Callable[[int], tuple[Any, Any]],
        index: Tensor,
        *,
        where: Callable[[int], str],
        px: int,
        channels: int,
        frames: int | None = None,
        fit: Fit | None = None,
    ) -> None:
        self.read, self.index, self.where, self.px, self.channels = read, index, where, px, channels
        self.frames, self.fit = frames, fit or square

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.index), *_shape(self.channels, self.frames, self.px)

    def part(self, index: Tensor) -> Pictures:
        return Pictures(
            self.read,
            self.index[index],
            where=self.where,
            px=self.px,
            channels=self.channels,
            frames=self.frames,
            fit=self.fit,
        )

    def pictures(self, at: int) -> list[Image.Image]:
        opened, _ = _opened(self.read, self.where, int(self.index[at]))
        return [_as_mode(picture, self.channels) for picture in opened]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        chosen = torch.arange(len(self.index))[index].tolist()
        pixels = torch.empty(len(chosen), *self.shape[1:], dtype=torch.uint8)
        for place, at in enumerate(chosen):
            pixels[place] = _bytes(self.pictures(at), self.shape[1:], self.fit)
        return pixels


def stacked(
    read: Callable[[int], tuple[Any, Any]],
    count: int,
    *,
    where: Callable[[int], str],
    img_size: int | None,
    in_chans: int | None,
    skip_unreadable: bool = False,
    frames: int | None = None,
    fit: Fit | None = None,
) -> tuple[Tensor | Pictures, Tensor]:
    """`count` pictures as (N, C, H, W) bytes, or clips of so many `frames` as (N, C, T, H, W), and their labels (N,);
    `read`, `where` and `fit` are those of `Pictures`.

    Without `img_size` and `in_chans`, those of the first picture are taken, and all must then have that size. A set
    that would fill more than half of this machine's memory is not read now but when its pictures are asked for. With
    `skip_unreadable`, pictures that cannot be read are named on standard error and left out.

    Raises `UserError` for a picture or label that cannot be read, for sizes that differ, and if nothing is left.
    """
    readable = _readable(read, where, count) if skip_unreadable else list(range(count))
    if not readable:
        raise UserError(f"none of {count} pictures can be read, from {where(0)} on; get the data again")
    first = _opened(read, where, readable[0])[0][0]
    if img_size is None and first.width != first.height:
        raise UserError(
            f"{where(readable[0])} is {first.width} x {first.height} pixels; give a size to bring it to (--img-size)"
        )
    natural = first.size if img_size is None else None
    px = img_size or first.width
    channels = in_chans or (1 if first.mode in GREY_MODES else 3)
    shape = _shape(channels, frames, px)
    if len(readable) * math.prod(shape) > _room_bytes():
        labels = torch.tensor([_label(read, where, index) for index in readable])
        unread = torch.tensor(readable)
        return Pictures(read, unread, where=where, px=px, channels=channels, frames=frames, fit=fit), labels
    pixels = torch.empty(len(readable), *shape, dtype=torch.uint8)
    labels = torch.empty(len(readable), dtype=torch.int64)
    for place, index in enumerate(readable):
        pictures, labels[place] = _opened(read, where, index)
        if natural is not None and pictures[0].size != natural:
            raise UserError(f"{where(index)} and {where(0)} differ in size; give one to bring them to (--img-size)")
        pixels[place] = _bytes([_as_mode(picture, channels) for picture in pictures], shape, fit or square)
    return pixels, labels


def _readable(read: Callable[[int], tuple[Any, Any]], where: Callable[[int], str], count: int) -> list[int]:
    """The numbers of the pictures that can be decoded; the others are named on standard error."""
    fine, bad = [], []
    for index in range(count):
        try:
            _opened(read, where, index)
            fine.append(index)
        except UserError as error:
            bad.append(str(error).partition(";")[0])
    for message in bad[:_NAMED]:
        print(f"left out: {message}", file=sys.stderr)
    if len(bad) > _NAMED:
        print(f"left out: {len(bad) - _NAMED} more pictures that cannot be read", file=sys.stderr)
    return fine


def _opened(
    read: Callable[[int], tuple[Any, Any]], where: Callable[[int], str], index: int
) -> tuple[list[Image.Image], int]:
    """A decoded picture, or the frames of a clip, and its label. timm's own data sets put the next picture in place of
    one they cannot decode; here that is an error, because the accuracy would be of another set."""
    try:
        with warnings.catch_warnings():
            # a picture that Pillow takes for a bomb would be decoded all the same, into gigabytes
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            content, label = read(index)
            if isinstance(content, Clip):
                return content.read(), label
            if isinstance(content, Image.Image):
                return [content], label
            with content, Image.open(content) as picture:
                picture.load()
                return [picture.copy()], label
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"cannot read {where(index)}: it unpacks to more than {Image.MAX_IMAGE_PIXELS:,} pixels; replace the "
            "picture or take it out"
        ) from error
    except (OSError, SyntaxError, ValueError, AssertionError, EOFError) as error:  # a broken PNG is a SyntaxError
        reason = "no picture in it" if isinstance(error, AssertionError) else str(error).split("\n")[0]
        raise UserError(f"cannot read {where(index)}: {reason}; replace the picture or take it out") from error


def _label(read: Callable[[int], tuple[Any, Any]], where: Callable[[int], str], index: int) -> int:
    """The label alone; the picture is not decoded."""
    try:
        content, label = read(index)
    except (OSError, ValueError, AssertionError) as error:
        raise UserError(f"cannot read {where(index)}: {error}; replace the picture or take it out") from error
    if hasattr(content, "close"):
        content.close()
    return int(label)


def _as_mode(picture: Image.Image, channels: int) -> Image.Image:
    """Grey for one channel, else RGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        if values.max(initial=0) > 255:
            values = values / 257
        picture = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("L" if channels == 1 else "RGB")


def _shape(channels: int, frames: int | None, px: int) -> tuple[int, ...]:
    """That of one picture's bytes, or of one clip's."""
    return (channels, px, px) if frames is None else (channels, frames, px, px)


def _bytes(pictures: list[Image.Image], shape: tuple[int, ...], fit: Fit) -> Tensor:
    """A picture, or the frames of a clip, as bytes of that shape."""
    channels, px = shape[0], shape[-1]
    arrays = [torch.from_numpy(np.array(fit(picture, px))).view(px, px, channels) for picture in pictures]
    return torch.stack(arrays).permute(3, 0, 1, 2).reshape(shape)


def square(picture: Image.Image, px: int) -> Image.Image:
    """The picture scaled (bicubic) until its shorter side has `px` pixels, and its middle."""
    if picture.size == (px, px):
        return picture
    scale = px / min(picture.size)
    width, height = (max(px, round(side * scale)) for side in picture.size)
    left, top = (width - px) // 2, (height - px) // 2
    return picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + px, top + px))


def _room_bytes() -> float:
    """How large a set may be to be held in memory: half of this machine's."""
    if not hasattr(os, "sysconf"):
        return float("inf")  # this system does not say how much memory it has
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
