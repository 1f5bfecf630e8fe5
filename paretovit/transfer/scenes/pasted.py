"""Labelled pictures pasted at random places and scales on a background: real objects whose boxes are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paretovit.errors import UserError
from paretovit.training.data import Images, open_data
from paretovit.training.data._pictures import stacked
from paretovit.transfer.scenes import Objects, Scenes, SceneSource, gathered

_MOST = 4  # objects in a scene
_LEAST_PX = 16  # of a scene's side
_LEAST_SIDE, _MOST_SIDE = 1 / 5, 1 / 2  # of an object, in sides of the scene
_TRIES = 20  # to find a place for an object beside the others
_HIDDEN = 0.25  # of an object may be by another one
_COARSE = 4  # colours of a background, along each side

Box = tuple[int, int, int, int]  # left, top, width, height


class Pasted(SceneSource):
    """One to four pictures of a labelled set, each with its class, on a background of blurred random colours.

    There is a scene for every four pictures of a split, and none of them is in two scenes. An object's side is from a
    fifth to half of the scene's, evenly in the logarithm; places are drawn evenly, but no object may hide more than a
    quarter of an earlier one: what finds no such place is left out. All comes from the split and the number of the
    scene, so that the set is the same on every machine and under every recipe.
    """

    def read(self, path: str, split: str, *, img_size: int, in_chans: int | None) -> Scenes:
        if img_size < _LEAST_PX:
            raise UserError(f"pasted pictures cannot be told in {img_size} px; give --img-size {_LEAST_PX} or more")
        data = open_data(path, in_chans=in_chans, skip_unreadable=self.skip_unreadable)
        images = data.train if split == "train" else data.val
        if images.frames is not None:
            raise UserError(f"{images.name} has clips, and pictures are what is pasted; give data of still images")
        count = len(images) // _MOST
        if not count:
            raise UserError(f"{images.name} has {len(images)} images ({images.split}), and a scene takes {_MOST}")
        seed = int(split == "train")
        order = np.random.default_rng(seed).permutation(len(images)).tolist()
        drawn = [
            _drawn(images, order[at * _MOST : (at + 1) * _MOST], img_size, np.random.default_rng([seed, at]))
            for at in range(count)
        ]
        pixels, kept = stacked(
            lambda at: (drawn[at].painted(images), at),
            count,
            where=lambda at: f"scene {at} of {images.name} ({images.split})",
            img_size=img_size,
            in_chans=images.in_chans,
        )
        return Scenes(
            name=f"pasted/{images.name}",
            split=images.split,
            pixels=pixels,
            class_names=images.class_names,
            mean=images.mean,
            std=images.std,
            real=images.real,
            may_flip=images.may_flip,
            **gathered([scene.objects(images) for scene in drawn], kept, images.name),
        )


@dataclass(frozen=True, eq=False)
class _Scene:
    """A scene of `px` pixels a side before it is painted: numbers of pictures, their boxes, a background's colours."""

    px: int
    pictures: tuple[int, ...]
    boxes: tuple[Box, ...]
    colours: NDArray[np.uint8]

    def painted(self, images: Images) -> Image.Image:
        scene = Image.fromarray(self.colours).resize((self.px, self.px), Image.Resampling.BICUBIC)
        for at, (left, top, width, height) in zip(self.pictures, self.boxes, strict=True):
            scene.paste(images.pictures(at)[0].resize((width, height), Image.Resampling.BICUBIC), (left, top))
        return scene

    def objects(self, images: Images) -> Objects:
        return Objects(
            width=self.px,
            height=self.px,
            boxes=self.boxes,
            classes=images.labels[list(self.pictures)].tolist(),
            areas=[width * height for _, _, width, height in self.boxes],
            crowds=[False] * len(self.boxes),
        )


def _drawn(images: Images, pictures: list[int], px: int, random: np.random.Generator) -> _Scene:
    """A scene of the first one to four of the `pictures` that find a place."""
    boxes: list[Box] = []
    placed: list[int] = []
    for at in pictures[: random.integers(1, _MOST + 1)]:
        side = round(px * math.exp(random.uniform(math.log(_LEAST_SIDE), math.log(_MOST_SIDE))))
        for _ in range(_TRIES):
            left, top = random.integers(0, px - side + 1, 2).tolist()
            box = (left, top, side, side)
            if all(_shared(box, other) <= _HIDDEN * other[2] * other[3] for other in boxes):
                boxes.append(box)
                placed.append(at)
                break
    shape = (_COARSE, _COARSE, *([] if images.in_chans == 1 else [images.in_chans]))
    return _Scene(px, tuple(placed), tuple(boxes), random.integers(0, 256, shape, dtype=np.uint8))


def _shared(box: Box, other: Box) -> int:
    """Pixels of both boxes."""
    sides = [min(box[i] + box[i + 2], other[i] + other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
    return max(sides[0], 0) * max(sides[1], 0)
