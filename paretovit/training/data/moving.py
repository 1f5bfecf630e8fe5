"""Clips made of still pictures that move: the label is how, and no single frame tells it.

A picture is tiled over the plane without end, and a frame shows a square as large as a tile: some point of the picture
in the middle, turned by some angle, magnified 1 to 2 times. These four numbers, the pose, go round in circles: points
by the tiling, angles by themselves, and a picture that has become twice as large is at its own size again. A clip
begins in a pose drawn evenly from all there are, and a motion leads from frame to frame by a map that crowds poses
nowhere; so they are spread as evenly at every frame, whatever the motion. A model that sees one frame cannot do better
than chance, and one that sees all frames but not their order cannot tell a motion from its opposite.

Shapes   B clips, C channels, T frames, P pixels of a side; a pose is (x, y, turn, zoom), each from 0 to below 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import to_pil_image

from paretovit.errors import UserError
from paretovit.training.data import Images, Source, Unread, open_data

_SEED = {"train": 0, "val": 1}


class Motion(NamedTuple):
    """What happens from one frame to the next: shares of the picture's side to the right and down, of a full turn
    clockwise, of a doubling in size. No more than one of the three is done by any."""

    right: float = 0.0
    down: float = 0.0
    turn: float = 0.0
    zoom: float = 0.0


_STEP, _TURN, _ZOOM = 1 / 16, 1 / 32, 1 / 16
MOTIONS = {
    "still": Motion(),
    "right": Motion(right=_STEP),
    "right and down": Motion(right=_STEP, down=_STEP),
    "down": Motion(down=_STEP),
    "left and down": Motion(right=-_STEP, down=_STEP),
    "left": Motion(right=-_STEP),
    "left and up": Motion(right=-_STEP, down=-_STEP),
    "up": Motion(down=-_STEP),
    "right and up": Motion(right=_STEP, down=-_STEP),
    "clockwise": Motion(turn=_TURN),
    "counterclockwise": Motion(turn=-_TURN),
    "growing": Motion(zoom=_ZOOM),
    "shrinking": Motion(zoom=-_ZOOM),
}


class Moving(Source):
    """`moving/DATA`: clips of the pictures of DATA, each in one of 13 motions, as in `moving/hfds/PATH`.

    A clip stays the same in every epoch and on every machine. Each motion is as common as the others. What a picture
    shows is not asked for.
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        if not path:
            raise UserError("moving/ takes the name of data whose pictures move; write such as moving/digits")
        opened = open_data(path, img_size=img_size, in_chans=in_chans, skip_unreadable=self.skip_unreadable)
        still = opened.train if split == "train" else opened.val
        if still.frames is not None:
            raise UserError(f"moving/ makes clips of still pictures, and {still.name} has clips; leave moving/ out")
        random = torch.Generator().manual_seed(_SEED[split])
        labels = torch.randperm(len(still), generator=random) % len(MOTIONS)
        poses = torch.rand(len(still), 4, generator=random, dtype=torch.float64)
        return Images(
            name=f"moving/{still.name}",
            split=still.split,
            pixels=MovingPictures(still.pixels, poses, labels, self.frames),
            labels=labels,
            class_names=tuple(MOTIONS),
            mean=still.mean,
            std=still.std,
            real=still.real,
            may_flip=False,
        )


class MovingPictures(Unread):
    """Clips of `still` pictures (N, C, P, P), clip i from pose i of (N, 4) on in the motion of that number of (N,)."""

    def __init__(self, still: Tensor | Unread, poses: Tensor, motions: Tensor, frames: int) -> None:
        self.still, self.poses, self.motions, self.frames = still, poses, motions, frames

    @property
    def shape(self) -> tuple[int, ...]:
        count, channels, *sides = self.still.shape
        return count, channels, self.frames, *sides

    def part(self, index: Tensor) -> MovingPictures:
        still = self.still[index] if isinstance(self.still, Tensor) else self.still.part(index)
        return MovingPictures(still, self.poses[index], self.motions[index], self.frames)

    def pictures(self, at: int) -> list[Image.Image]:
        return [to_pil_image(frame) for frame in self[at : at + 1][0].unbind(1)]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        steps = torch.tensor([*MOTIONS.values()], dtype=torch.float64)[self.motions[index]]
        moments = [moved(self.poses[index], steps, moment) for moment in range(self.frames)]
        return seen(self.still[index], torch.stack(moments, dim=1))


def moved(poses: Tensor, steps: Tensor, moment: int) -> Tensor:
    """Poses (B, 4) after `moment` steps, each in its motion (B, 4); one of these goes straight, turns or zooms."""
    x, y, turn, zoom = poses.unbind(-1)
    right, down, clockwise, larger = (steps * moment).unbind(-1)
    # the picture goes right where the point in the middle of the frame goes left in the picture
    along_x, along_y = _in_picture(right, down, turn, zoom)
    return torch.stack((x - along_x, y - along_y, turn + clockwise, zoom + larger), dim=-1) % 1


def seen(pictures: Tensor, poses: Tensor) -> Tensor:
    """Bytes (B, C, T, P, P): what is seen of the bytes (B, C, P, P) in each of the poses (B, T, 4), bilinear.

    Worked out in double precision, for rounding that is seen would depend on what else is in the batch.
    """
    px = pictures.shape[-1]
    place = (torch.arange(px, dtype=torch.float64) + 0.5) / px - 0.5  # from the middle of the frame, in its sides
    x, y, turn, zoom = poses[..., None, None, :].unbind(-1)
    along_x, along_y = _in_picture(place.expand(px, px), place[:, None].expand(px, px), turn, zoom)
    points = torch.stack((x + along_x, y + along_y), dim=-1) % 1  # (B, T, P, P, 2), in the picture's sides
    tiled = F.pad(pictures.double(), (1, 1, 1, 1), mode="circular")  # a pixel's neighbour may be on the next tile
    at = (points * px + 0.5) / (px + 1) * 2 - 1  # -1 and 1 are the middles of the first and last of P + 2 pixels
    shown = F.grid_sample(tiled, at.flatten(1, 2), mode="bilinear", align_corners=True)
    return shown.round().clamp(0, 255).to(torch.uint8).unflatten(2, (poses.shape[1], px))


def _in_picture(right: Tensor, down: Tensor, turn: Tensor, zoom: Tensor) -> tuple[Tensor, Tensor]:
    """A way over the frame as a way over the picture, which is turned clockwise and magnified."""
    angle, scale = 2 * torch.pi * turn, 2**-zoom
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    return right * cosine + down * sine, down * cosine - right * sine
