"""Folders in the layout of COCO: pictures, and a JSON file that says what is in them."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from paretovit.errors import UserError
from paretovit.training.data import COLOUR, GREY
from paretovit.training.data._pictures import stacked
from paretovit.transfer.scenes import Objects, Scenes, SceneSource, gathered, squeezed

_SPLITS = {"train": ("train",), "val": ("val", "valid", "test")}


class Coco(SceneSource):
    """`PATH/annotations/instances_train2017.json` with `PATH/train2017/*.jpg`, and `val2017` likewise.

    Layouts   The word behind `instances_` is the folder of the pictures, in PATH or in `PATH/images`; it begins with
              train, or with val, valid or test. Or, as many tools write it, `PATH/train/_annotations.coco.json` lies
              beside its pictures.
    Classes   Those that the file lists, in the order of their ids; both splits have to list the same.
    Boxes     They are cut off at the border of the picture. Those of which nothing is left are left out and counted on
              standard error: COCO itself has some.
    Pictures  Those of any sides are scaled to a square, so that nothing is cut off and nothing is padding; areas and
              overlaps are judged in the pixels of the file. Zhu et al. 2020 keep the ratio of the sides instead.
    """

    def read(self, path: str, split: str, *, img_size: int, in_chans: int | None) -> Scenes:
        root = Path(path)
        file, pictures = _files(root, split)
        listed = _Listed.read(file)
        paths = [pictures / name for name in listed.names]

        def opened(at: int) -> tuple[Any, int]:
            with Image.open(paths[at]) as picture:
                sides, stated = picture.size, (listed.objects[at].width, listed.objects[at].height)
            if sides != stated:
                raise ValueError(
                    f"it has {sides[0]} x {sides[1]} pixels, and {file.name} says {stated[0]} x {stated[1]}"
                )
            return open(paths[at], "rb"), at

        pixels, kept = stacked(
            opened,
            len(paths),
            where=lambda at: str(paths[at]),
            img_size=img_size,
            in_chans=in_chans,
            skip_unreadable=self.skip_unreadable,
            fit=squeezed,
        )
        mean, std = GREY if pixels.shape[1] == 1 else COLOUR
        return Scenes(
            name=f"coco/{root.resolve().name}",
            split=split,
            pixels=pixels,
            class_names=listed.classes,
            mean=mean,
            std=std,
            real=True,
            may_flip=True,
            **gathered(listed.objects, kept, str(file)),
        )


def _files(root: Path, split: str) -> tuple[Path, Path]:
    """The annotations of a split, and the folder of its pictures."""
    if not root.is_dir():
        raise UserError(f"no folder {root}; give one that holds annotations/ and the pictures, as COCO has them")
    for word in _SPLITS[split]:
        for file in sorted((root / "annotations").glob(f"instances_{word}*.json")):
            name = file.stem.removeprefix("instances_")
            for folder in (root / name, root / "images" / name):
                if folder.is_dir():
                    return file, folder
            raise UserError(f"{file} has no folder of pictures; put them into {root / name}")
        if (file := root / word / "_annotations.coco.json").is_file():
            return file, file.parent
    word = _SPLITS[split][0]
    raise UserError(
        f"{root} has no {split} split: neither annotations/instances_{word}*.json nor {word}/_annotations.coco.json"
    )


@dataclass(frozen=True)
class _Listed:
    """What a file of annotations says: classes, and of each picture its file's name and its objects."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    objects: tuple[Objects, ...]

    @classmethod
    def read(cls, file: Path) -> _Listed:
        """Raises `UserError` with the first entry that cannot be read."""
        content = _json(file)
        ids = [_entry(file, "category", one, "id", "name") for one in content["categories"]]
        ids.sort(key=lambda one: one["id"])
        number = {one["id"]: place for place, one in enumerate(ids)}
        pictures = [_entry(file, "image", one, "id", "file_name", "width", "height") for one in content["images"]]
        boxes: dict[Any, list[_Box]] = {one["id"]: [] for one in pictures}
        for what, known, count in (("categories", number, len(ids)), ("images", boxes, len(pictures))):
            if not count or len(known) < count:
                raise UserError(
                    f"{file} lists {'no ' + what if not count else what + ' with one id twice'}; correct it"
                )
        sides = {one["id"]: (one["width"], one["height"]) for one in pictures}
        lost = 0
        for one in content["annotations"]:
            _entry(file, "annotation", one, "id", "image_id", "category_id", "bbox")
            for what, known in (("image_id", boxes), ("category_id", number)):
                if one[what] not in known:
                    raise UserError(f"{file}: annotation {one['id']} has the {what} {one[what]}, which is not listed")
            box = _Box.read(file, one, number[one["category_id"]], sides[one["image_id"]])
            if box is None:
                lost += 1
            else:
                boxes[one["image_id"]].append(box)
        if lost:
            print(f"left out: {lost} boxes of {file.name} of which nothing is in the picture", file=sys.stderr)
        return cls(
            classes=tuple(str(one["name"]) for one in ids),
            names=tuple(str(one["file_name"]) for one in pictures),
            objects=tuple(_objects(one, boxes[one["id"]]) for one in pictures),
        )


@dataclass(frozen=True)
class _Box:
    """One annotation: left, top, width, height, its class, its area, and whether it is a crowd."""

    sides: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool

    @classmethod
    def read(cls, file: Path, one: dict[str, Any], label: int, picture: tuple[int, int]) -> _Box | None:
        """The box as far as it is in a picture of that width and height; None if nothing of it is."""
        found = one["bbox"]
        if not isinstance(found, list) or len(found) != 4 or not all(map(_is_number, found)):
            raise UserError(
                f"{file}: annotation {one['id']} has the bbox {found}; it takes four numbers: left, top, width, height"
            )
        x, y, width, height = found
        left, right = max(float(x), 0.0), min(float(x + width), float(picture[0]))
        top, bottom = max(float(y), 0.0), min(float(y + height), float(picture[1]))
        if right <= left or bottom <= top:
            return None
        area = one.get("area", width * height)
        if not _is_number(area):
            raise UserError(f"{file}: annotation {one['id']} has the area {area}; it takes a number")
        return cls((left, top, right - left, bottom - top), label, float(area), bool(one.get("iscrowd", 0)))


def _objects(picture: dict[str, Any], boxes: list[_Box]) -> Objects:
    return Objects(
        width=picture["width"],
        height=picture["height"],
        boxes=[box.sides for box in boxes],
        classes=[box.label for box in boxes],
        areas=[box.area for box in boxes],
        crowds=[box.crowd for box in boxes],
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"cannot read {file}: {error}; get it again") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in lists):
        raise UserError(f"{file} holds no annotations of COCO: it takes lists of {', '.join(lists)}")
    return content


def _entry(file: Path, what: str, one: Any, *fields: str) -> dict[str, Any]:
    """An entry that has these fields: ids and sides as whole numbers, the latter above 0."""
    if not isinstance(one, dict):
        raise UserError(f"{file} lists {str(one)[:40]} as {what}; it takes an object with {', '.join(fields)}")
    for field in fields:
        value = one.get(field)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if value is None or (field.endswith("id") and not is_whole):
            raise UserError(f"{file}: {what} {one.get('id', 'without id')} has no {field}; correct it or take it out")
        if field in ("width", "height") and not (is_whole and value > 0):
            raise UserError(f"{file}: {what} {one['id']} has the {field} {value}; it takes pixels")
    return one


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
