"""Picture files become one tensor of bytes; whatever cannot be read is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from paretovit.errors import UserError

GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")


def stacked(
    read: Callable[[int], tuple[Any, Any]],
    count: int,
    *,
    where: Callable[[int], str],
    img_size: int | None,
    in_chans: int | None,
) -> tuple[Tensor, Tensor]:
    """`count` pictures as (N, C, H, W) bytes, and their labels (N,).

    `read(index)` gives a picture (or an open file) and its label; `where(index)` names it in messages. A picture
    of another size is scaled (bicubic) until its shorter side fits, and its middle is cut out. Without `img_size`
    and `in_chans`, those of the first picture are taken, and all must then have that size.

    Raises `UserError` for a picture or label that cannot be read, for sizes that differ, and for a set that would
    fill more than half of this machine's memory.
    """
    first = _opened(read, where, 0)[0]
    if img_size is None and first.width != first.height:
        raise UserError(f"{where(0)} is {first.width} x {first.height} pixels; give a size to bring it to (--img-size)")
    natural = first.size if img_size is None else None
    px = img_size or first.width
    channels = in_chans or (1 if first.mode in GREY_MODES else 3)
    _check_memory(count * channels * px**2, where(0))
    pixels = torch.empty(count, channels, px, px, dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.int64)
    for index in range(count):
        picture, labels[index] = _opened(read, where, index)
        if natural is not None and picture.size != natural:
            raise UserError(f"{where(index)} and {where(0)} differ in size; give one to bring them to (--img-size)")
        array = np.array(_square(picture.convert("L" if channels == 1 else "RGB"), px))
        pixels[index] = torch.from_numpy(array).view(px, px, channels).permute(2, 0, 1)
    return pixels, labels


def _opened(read: Callable[[int], tuple[Any, Any]], where: Callable[[int], str], index: int) -> tuple[Image.Image, int]:
    """A decoded picture and its label. timm's own data sets put the next picture in place of one they cannot
    decode; here that is an error, because the accuracy would be of another set."""
    try:
        content, label = read(index)
        if isinstance(content, Image.Image):
            return content, label
        with content, Image.open(content) as picture:
            picture.load()
            return picture.copy(), label
    except (OSError, SyntaxError, ValueError, AssertionError) as error:  # a broken PNG is a SyntaxError to Pillow
        reason = "no picture in it" if isinstance(error, AssertionError) else str(error).split("\n")[0]
        raise UserError(f"cannot read {where(index)}: {reason}; replace the picture or take it out") from error


def _square(picture: Image.Image, px: int) -> Image.Image:
    if picture.size == (px, px):
        return picture
    scale = px / min(picture.size)
    width, height = (max(px, round(side * scale)) for side in picture.size)
    left, top = (width - px) // 2, (height - px) // 2
    return picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + px, top + px))


def _check_memory(needed: int, first: str) -> None:
    if not hasattr(os, "sysconf"):
        return  # this system does not say how much memory it has
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > present // 2:
        raise UserError(
            f"the set of {first} needs {needed / 2**30:.1f} GiB of memory, this machine has {present / 2**30:.1f} GiB; "
            "give fewer or smaller images (--img-size)"
        )
