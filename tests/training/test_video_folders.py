"""Folders of clips: video files, and folders of frames."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paretovit.errors import UserError
from paretovit.training.data import Images, open_data
from paretovit.training.data._pictures import Pictures
from paretovit.training.data.videos import _spread

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="the extra `video` is not installed")


def frames(folder: Path, count: int, *, first: int = 0, size: tuple[int, int] = (6, 4)) -> Path:
    """A clip whose frame i, from 0, is a grey of i + `first` and named frame_i: frame_10 after frame_9."""
    folder.mkdir(parents=True)
    for at in range(count):
        Image.new("RGB", size, (at + first,) * 3).save(folder / f"frame_{at}.png")
    return folder


def film(path: Path, count: int, size: tuple[int, int] = (48, 32)) -> Path:
    """A video file whose frame i is a grey of 10 i."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for at in range(count):
            grey = np.full((size[1], size[0], 3), 10 * at, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes; in the second no clip to validate by."""
    for split, clips in (("train", {"wave": 16, "wave2": 12, "bow": 8}), ("val", {"wave": 16})):
        for name, count in clips.items():
            frames(tmp_path / split / name.rstrip("2") / f"clip{name[-1]}", count, first=100 if name == "bow" else 0)
    return tmp_path


def read(folder: Path, split: str = "train", **how) -> Images:
    data = open_data(f"videos/{folder}", img_size=4, **how)
    return data.train if split == "train" else data.val


def greys(images: Images) -> list[list[int]]:
    return images.pixels[torch.arange(len(images))][:, 0, :, 0, 0].tolist()


def test_of_equal_parts_of_a_clip_the_middle_frames_are_taken():
    assert _spread(16, 8) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert _spread(8, 8) == list(range(8))
    assert _spread(300, 3) == [50, 150, 250]
    assert _spread(2, 4) == [0, 0, 1, 1]
    assert _spread(9, 1) == [4]


def test_folders_of_frames_are_clips_in_the_order_of_their_numbers(folder: Path):
    train = read(folder)
    assert (train.name, tuple(train.pixels.shape), train.frames) == (f"videos/{folder.name}", (3, 3, 8, 4, 4), 8)
    assert (train.class_names, train.labels.tolist()) == (("bow", "wave"), [0, 1, 1])
    assert greys(train) == [
        [100, 101, 102, 103, 104, 105, 106, 107],
        [0, 2, 3, 5, 6, 8, 9, 11],
        [1, 3, 5, 7, 9, 11, 13, 15],
    ]
    val = read(folder, "val", frames=2, in_chans=1)
    assert (tuple(val.pixels.shape), val.labels.tolist(), greys(val)) == ((1, 1, 2, 4, 4), [1], [[4, 12]])
    assert [picture.size for picture in read(folder, frames=2).part(torch.tensor([1])).pictures(0)] == [(4, 4)] * 2


def test_a_set_that_would_fill_the_memory_is_read_when_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch):
    held = read(folder)
    monkeypatch.setattr("paretovit.training.data._pictures._room_bytes", lambda: 3 * 3 * 8 * 4 * 4 - 1)
    unread = read(folder)
    assert isinstance(unread.pixels, Pictures)
    assert not isinstance(held.pixels, Pictures)
    assert (unread.frames, unread.labels.tolist()) == (8, held.labels.tolist())
    assert torch.equal(unread.pixels[torch.arange(3)], held.pixels)
    part = unread.of_classes([1])
    assert torch.equal(part.pixels[torch.tensor([1])], held.pixels[2:])
    assert [picture.size for picture in part.pictures(0)] == [(6, 4)] * 8


def test_a_clip_that_cannot_be_read_is_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    broken = folder / "train" / "wave" / "clip2"
    (broken / "frame_5.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^cannot read \S+clip2: its frame frame_5\.png: [^\n]+$"):
        read(folder)
    (folder / "train" / "wave" / "empty").mkdir()
    left = read(folder, skip_unreadable=True)
    assert left.labels.tolist() == [0, 1]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].split("/")[-1] for line in told] == ["clip2", "empty"]
    assert told[1].endswith("no frames in it")


def test_frames_of_several_sizes_are_no_clip(folder: Path):
    Image.new("RGB", (9, 9)).save(folder / "train" / "bow" / "clipw" / "frame_3.png")
    with pytest.raises(UserError, match=r"bow/clipw: its frames are of 2 sizes; replace"):
        read(folder)


def test_what_is_missing_is_said(folder: Path, tmp_path: Path):
    for name, says in (("", "given after videos/"), ("/nowhere", "no folder /nowhere")):
        with pytest.raises(UserError, match=says):
            open_data(f"videos/{name}", img_size=4).train  # noqa: B018
    frames(folder / "val" / "jump" / "clip", 8)
    with pytest.raises(UserError, match="class jump is not in the training folder"):
        read(folder, "val")
    (tmp_path / "bare" / "train" / "wave").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no clips in class folders"):
        read(tmp_path / "bare")


def test_without_its_library_a_video_file_comes_with_the_line_to_type(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "train" / "wave" / "clip.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"clip\.mp4 is a video file.*pip install 'paretovit\[video\]'"):
        read(folder)


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_video_files_and_folders_of_frames_may_stand_side_by_side(folder: Path, suffix: str):
    film(folder / "train" / "bow" / f"film{suffix}", 20)
    found = read(folder, frames=4)
    assert found.labels.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(
        torch.tensor(greys(found)[1]), torch.tensor([20, 70, 120, 170]), rtol=0, atol=6
    )  # what the codec loses


@needs_av
def test_a_video_file_that_is_damaged_is_named(folder: Path):
    whole = film(folder / "film.mp4", 20).read_bytes()
    clip = folder / "train" / "bow" / "film.mp4"
    for content in (b"", b"no video", whole[: len(whole) // 2]):
        clip.write_bytes(content)
        with pytest.raises(UserError, match=r"^cannot read \S+film\.mp4: [^\n/]+; replace the picture or take it out$"):
            read(folder)
