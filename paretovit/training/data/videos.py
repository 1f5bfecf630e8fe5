"""Folders of clips, as Kinetics comes: video files, or one folder of pictures per clip."""

from __future__ import annotations

import importlib.util
import re
from functools import partial
from pathlib import Path

from PIL import Image

from paretovit.errors import UserError
from paretovit.training.data import COLOUR, GREY, Images, Source
from paretovit.training.data._pictures import Clip, stacked
from paretovit.training.data.folder import split_folder

_FILES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class Videos(Source):
    """`videos/PATH`: clips in `PATH/train/CLASS` and `PATH/val/CLASS`, each a video file or a folder of its frames.

    Frames   8, or as many as the model takes: those in the middle of as many equal parts of the clip, in training too.
    Files    are read by PyAV (`pip install 'paretovit[video]'`), their first video; sound and what a file says of how
             it is to be turned are left aside. Folders of pictures, which are in the order of the numbers in their
             names, need nothing more.
    Classes  are those of the training half, in the order of their names.
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        root = Path(path)
        if not path or not root.is_dir():
            raise UserError(
                f"no folder {path or 'given after videos/'}; give one that holds train/ and val/ with a folder of "
                "clips per class"
            )
        classes = {name: number for number, name in enumerate(sorted(_clips(split_folder(root, "train"))))}
        here = split_folder(root, split)
        found = _clips(here)
        strangers = sorted(set(found) - set(classes))
        if strangers:
            raise UserError(f"{here}: class {strangers[0]} is not in the training folder; rename it or take it out")
        clips = [(clip, classes[name]) for name in sorted(found) for clip in found[name]]
        files = [clip for clip, _ in clips if clip.is_file()]
        if files and importlib.util.find_spec("av") is None:
            raise UserError(
                f"{files[0]} is a video file, which the library av reads; type: pip install 'paretovit[video]', or "
                "give a folder of pictures per clip"
            )

        def read(index: int) -> tuple[Clip, int]:
            clip, label = clips[index]
            frames_of = _of_file if clip.is_file() else _of_folder
            return Clip(partial(frames_of, clip, self.frames)), label

        pixels, labels = stacked(
            read,
            len(clips),
            where=lambda index: str(clips[index][0]),
            img_size=img_size,
            in_chans=in_chans,
            skip_unreadable=self.skip_unreadable,
            frames=self.frames,
        )
        mean, std = GREY if pixels.shape[1] == 1 else COLOUR
        return Images(
            name=f"videos/{root.resolve().name}",
            split=split,
            pixels=pixels,
            labels=labels,
            class_names=tuple(classes),
            mean=mean,
            std=std,
        )


def _clips(folder: Path) -> dict[str, list[Path]]:
    """The clips of every class that has any."""
    kinds = [kind for kind in _seen(folder) if kind.is_dir()]
    found = {k.name: [clip for clip in _seen(k) if clip.is_dir() or clip.suffix.lower() in _FILES] for k in kinds}
    if not any(found.values()):
        raise UserError(f"{folder} holds no clips in class folders; put video files or folders of pictures there")
    return {name: clips for name, clips in found.items() if clips}


def _seen(folder: Path) -> list[Path]:
    """What is in a folder, by name, but for what file systems leave there unseen."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _spread(length: int, count: int) -> list[int]:
    """The frames in the middle of `count` equal parts of `length` frames; some come twice where there are too few."""
    if not length:
        raise ValueError("no frames in it")
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def _of_folder(clip: Path, count: int) -> list[Image.Image]:
    pictures = (file for file in _seen(clip) if file.suffix.lower() in _PICTURES)
    files, frames = sorted(pictures, key=_in_order), []
    for at in _spread(len(files), count):
        try:
            with Image.open(files[at]) as picture:
                picture.load()
                frames.append(picture.copy())
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"its frame {files[at].name}: {error}") from error
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"its frames are of {len(sizes)} sizes")
    return frames


def _in_order(file: Path) -> list[tuple[int, str]]:
    """`frame_10` comes after `frame_9`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", file.stem)]


def _of_file(clip: Path, count: int) -> list[Image.Image]:
    import av

    av.logging.set_level(av.logging.PANIC)  # what is wrong is told once, with the file's name
    try:
        with av.open(str(clip)) as file:
            if not file.streams.video:
                raise ValueError("no video in it")
            # headers often do not say how many frames there are; packets are counted without decoding
            length = sum(packet.size > 0 for packet in file.demux(file.streams.video[0]))
        wanted = _spread(length, count)
        frames: dict[int, Image.Image] = {}
        with av.open(str(clip)) as file:
            for at, frame in enumerate(file.decode(file.streams.video[0])):
                if at in wanted:
                    frames[at] = frame.to_image()
                if at == wanted[-1]:
                    break
    except av.FFmpegError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(frames) < len(set(wanted)):
        raise ValueError(f"only {len(frames)} of the {len(set(wanted))} frames that are wanted can be decoded")
    return [frames[at] for at in wanted]
