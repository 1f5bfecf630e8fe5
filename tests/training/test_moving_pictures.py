"""Clips of pictures that move: how they move, and that no single frame tells it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.training.data import open_data
from paretovit.training.data._pictures import Pictures
from paretovit.training.data.moving import MOTIONS, Motion, MovingPictures, moved, seen

PX = 16  # a step of a sixteenth is a pixel
UPRIGHT = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
NAMES = list(MOTIONS)


def noise(count: int = 3, channels: int = 3) -> Tensor:
    made = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, PX, PX), generator=made, dtype=torch.uint8)


def clip(motion: str, frames: int, pose: Tensor = UPRIGHT, picture: Tensor | None = None) -> Tensor:
    """(C, T, P, P) of one picture."""
    still = noise(1) if picture is None else picture
    return MovingPictures(still, pose.expand(len(still), 4), torch.tensor([NAMES.index(motion)]), frames)[:1][0]


def test_an_upright_picture_that_stays_is_seen_as_it_is():
    assert torch.equal(clip("still", 5), noise(1)[0].unsqueeze(1).expand(-1, 5, -1, -1))


@pytest.mark.parametrize(
    ("motion", "down", "right"),
    [
        ("right", 0, 1),
        ("left", 0, -1),
        ("down", 1, 0),
        ("up", -1, 0),
        ("right and up", -1, 1),
        ("left and down", 1, -1),
    ],
)
def test_what_leaves_at_one_side_comes_in_at_the_other(motion: str, down: int, right: int):
    shown = clip(motion, 4)
    for moment in range(4):
        assert torch.equal(shown[:, moment], noise(1)[0].roll((moment * down, moment * right), (-2, -1)))


@pytest.mark.parametrize(("motion", "quarters"), [("clockwise", -1), ("counterclockwise", 1)])
def test_eight_frames_are_a_quarter_turn(motion: str, quarters: int):
    shown = clip(motion, 17)
    for moment in (8, 16):
        assert torch.equal(shown[:, moment], noise(1)[0].rot90(quarters * moment // 8, (-2, -1)))


def test_what_grows_covers_more_until_it_is_at_its_own_size_again():
    spot = torch.zeros(1, 1, PX, PX, dtype=torch.uint8)
    spot[..., 5:11, 5:11] = 200
    light = clip("growing", 17, picture=spot).float().sum((0, 2, 3))
    assert (light[1:16] > light[:15]).all()
    assert float(light[8] / light[0]) == pytest.approx(2, rel=0.1)  # half a doubling of the side doubles the area
    assert light[16] == light[0]
    back = clip("shrinking", 17, picture=spot).float().sum((0, 2, 3))
    torch.testing.assert_close(back[1:], light[:16].flip(0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("motion", ["right", "down"])
def test_a_direction_is_that_of_the_frame_however_the_picture_is_turned_and_magnified(motion: str):
    spot = torch.zeros(1, 1, PX, PX, dtype=torch.uint8)
    spot[..., 6:10, 6:10] = 200
    places = torch.arange(PX).float()
    for turn, zoom in ((0.2, 0.0), (0.7, 0.5)):
        shown = clip(motion, 4, torch.tensor([0.5, 0.5, turn, zoom], dtype=torch.float64), spot)[0].float()
        middle = [
            ((frame.sum(1 - axis) * places).sum() / frame.sum()) for frame in shown for axis in (0, 1)
        ]  # rows, columns, rows, ...
        down, right = (middle[6 + axis] - middle[axis] for axis in (0, 1))
        wanted = (0.0, 3.0) if motion == "right" else (3.0, 0.0)
        assert (float(down), float(right)) == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("motion", NAMES)
@pytest.mark.parametrize("moment", [1, 7])
def test_at_every_frame_poses_are_spread_as_at_the_first(motion: str, moment: int):
    """A map of the circles onto themselves that has an inverse and keeps volumes leaves what is spread evenly so. What
    is seen depends on the pose alone, so one frame, whichever, is as likely under one motion as under any other."""
    steps = torch.tensor(MOTIONS[motion], dtype=torch.float64).expand(20, 4)
    poses = torch.rand(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    then = moved(poses, steps, moment)
    assert ((then >= 0) & (then < 1)).all()
    gone = (moved(then, -steps, moment) - poses).abs()
    torch.testing.assert_close(gone.minimum(1 - gone), torch.zeros_like(gone), rtol=0, atol=1e-12)
    for pose, step in zip(poses, steps, strict=True):
        change = torch.func.jacrev(lambda pose, step=step: moved(pose[None], step[None], moment)[0])(pose)
        assert float(change.det().abs()) == pytest.approx(1, abs=1e-9)
    pictures = noise(20)
    made = MovingPictures(pictures, poses, torch.full((20,), NAMES.index(motion)), moment + 1)
    alone = seen(pictures, then[:, None])
    assert torch.equal(made[:][:, :, moment], alone[:, :, 0])


def test_no_motion_is_two_at_once():
    for motion in MOTIONS.values():
        assert sum((bool(motion.right or motion.down), bool(motion.turn), bool(motion.zoom))) == (motion != Motion())
    assert len(set(MOTIONS.values())) == 13


def test_moving_digits_are_the_same_every_time_and_each_motion_is_as_common():
    train = open_data("moving/digits", img_size=PX).train
    assert (train.name, tuple(train.pixels.shape), train.frames) == ("moving/digits", (1437, 1, 8, PX, PX), 8)
    assert (train.image_px, train.in_chans, train.num_classes, train.may_flip) == (PX, 1, 13, False)
    counts = train.labels.bincount()
    assert counts.max() - counts.min() <= 1
    again = open_data("moving/digits", img_size=PX, frames=3).train
    chosen = torch.tensor([1000, 3, 4])
    assert torch.equal(again.pixels[chosen], train.pixels[chosen][:, :, :3])
    assert torch.equal(train.pixels[3:5], train.pixels[chosen][1:])
    assert torch.equal(again.labels, train.labels)
    assert train.normalised(train.pixels[chosen]).shape == (3, 1, 8, PX, PX)
    frames = train.pictures(3)
    assert (len(frames), frames[0].size) == (8, (PX, PX))
    validated = open_data("moving/digits", img_size=PX).val
    assert not torch.equal(validated.labels, train.labels[: len(validated)])


def test_a_clip_moves_as_its_label_says():
    train = open_data("moving/digits", img_size=PX, classes="0-1").train
    assert train.class_names == ("still", "right")
    still = train.pixels[(train.labels == 0).nonzero()[:20, 0]]
    assert torch.equal(still, still[:, :, :1].expand_as(still))
    right = train.pixels[(train.labels == 1).nonzero()[:20, 0]]
    assert (right[:, :, 1:] != right[:, :, :-1]).flatten(1).any(1).all()


def test_pictures_that_are_read_when_asked_for_move_alike():
    pictures = noise()
    train = open_data("moving/fake", img_size=PX).train
    held = MovingPictures(pictures, train.pixels.poses[:3], train.labels[:3], 4)

    def read(index: int) -> tuple:
        from torchvision.transforms.v2.functional import to_pil_image

        return to_pil_image(pictures[index]), 0

    unread = Pictures(read, torch.arange(3), where=str, px=PX, channels=3)
    lazy = MovingPictures(unread, train.pixels.poses[:3], train.labels[:3], 4)
    assert (held.shape, lazy.shape) == ((3, 3, 4, PX, PX),) * 2
    assert torch.equal(lazy[:], held[:])
    index = torch.tensor([2, 0])
    assert torch.equal(lazy.part(index)[:], held[index])
    assert not train.real


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("moving", "the name of data whose pictures move"),
        ("moving/nothing", "unknown data 'nothing'"),
        ("moving/moving/digits", "has clips; leave moving/ out"),
    ],
)
def test_what_cannot_move_is_refused(name: str, says: str):
    with pytest.raises(UserError, match=says):
        open_data(name).train  # noqa: B018
    with pytest.raises(UserError, match="at least one frame"):
        open_data("moving/digits", frames=0)
