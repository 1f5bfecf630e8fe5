"""A folder of pictures in class folders, as ImageNet comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretovit.errors import UserError
from paretovit.training.data import COLOUR, GREY, Images, Source
from paretovit.training.data._pictures import stacked

FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "eval", "evaluation", "test")}


class Folder(Source):
    """`PATH/train/CLASS/*.png` and `PATH/val/CLASS/*.png` (or .jpg), read by timm; classes are numbered as timm does.

    The classes are those of the training folder for both splits, so that a class without validation pictures does
    not move the numbers of the others.
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        root = Path(path)
        if not root.is_dir():
            raise UserError(f"no folder {path}; give one that holds train/ and val/ with a folder per class")
        classes: dict[str, int] = _reader(split_folder(root, "train")).class_to_idx
        here = split_folder(root, split)
        strangers = sorted({Path(file).parent.name for file, _ in _reader(here).samples} - set(classes))
        if strangers:
            raise UserError(f"{here}: class {strangers[0]} is not in the training folder; rename it or take it out")
        reader = _reader(here, classes)
        pixels, labels = stacked(
            reader.__getitem__,
            len(reader),
            where=lambda index: str(reader.samples[index][0]),
            img_size=img_size,
            in_chans=in_chans,
            skip_unreadable=self.skip_unreadable,
        )
        mean, std = GREY if pixels.shape[1] == 1 else COLOUR
        return Images(
            name=f"folder/{root.resolve().name}",
            split=split,
            pixels=pixels,
            labels=labels,
            class_names=tuple(sorted(classes, key=classes.__getitem__)),
            mean=mean,
            std=std,
        )


def split_folder(root: Path, split: str) -> Path:
    """The folder in `root` of the split "train" or "val", by any of its usual names. Raises `UserError` if there is
    none."""
    # timm falls back to the root, and would so validate on the pictures trained on
    for name in FOLDERS[split]:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"{root} has no {split}/ folder; make one that holds a folder per class")


def _reader(folder: Path, classes: dict[str, int] | None = None) -> Any:
    """timm's reader: `samples` of file and label, `class_to_idx`, and opened files by index."""
    from timm.data import create_dataset

    try:
        return create_dataset("", root=str(folder), search_split=False, class_map=classes).reader
    except RuntimeError as error:  # what timm raises for a folder without pictures
        raise UserError(f"{folder} holds no pictures in class folders; put .png or .jpg files there") from error
