"""Pictures with boxes: pasted ones, and folders in COCO's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from paretovit.errors import UserError
from paretovit.training.batches import batches
from paretovit.training.data import open_data
from paretovit.training.recipe import Recipe
from paretovit.training.splits import split
from paretovit.transfer.scenes import Scenes, open_scenes

PX = 64
Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def pasted() -> Scenes:
    return open_scenes("pasted/digits", img_size=PX).val


def corners(labels: Tensor, px: int = PX) -> list[Box]:
    """Left, top, right and bottom in pixels of the boxes that there are."""
    found = labels[labels[:, 0] >= 0, 1:] * px
    ends = torch.cat((found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2), dim=1)
    return [tuple(row) for row in ends.round().int().tolist()]


def test_a_quarter_as_many_scenes_as_pictures_with_one_to_four_objects(pasted: Scenes):
    assert (len(pasted), pasted.name, pasted.split) == (90, "pasted/digits", "val")
    counts = (pasted.labels[..., 0] >= 0).sum(1)
    assert counts.unique().tolist() == [1, 2, 3, 4]
    assert pasted.pixels.shape == (90, 1, PX, PX)
    assert pasted.may_flip is False  # as the digits are


def test_boxes_lie_in_the_scene_and_are_from_a_fifth_to_half_as_large(pasted: Scenes):
    boxes = [box for labels in pasted.labels for box in corners(labels)]
    assert all(0 <= left < right <= PX and 0 <= top < bottom <= PX for left, top, right, bottom in boxes)
    sides = [right - left for left, _, right, _ in boxes]
    assert (min(sides), max(sides)) == (13, 32)


def test_in_a_box_that_nothing_hides_is_a_picture_of_its_class(pasted: Scenes):
    digits = open_data("digits").val
    for scene in range(20):
        labels = pasted.labels[scene]
        labels = labels[labels[:, 0] >= 0]
        left, top, right, bottom = corners(labels)[-1]  # what is pasted last is hidden by nothing
        shown = pasted.pixels[scene : scene + 1][0, 0, top:bottom, left:right].numpy()
        of_class = (digits.labels == labels[-1, 0]).nonzero()[:, 0].tolist()
        sides = (right - left, bottom - top)
        scaled = [np.array(digits.pictures(at)[0].resize(sides, Image.Resampling.BICUBIC)) for at in of_class]
        assert any(np.array_equal(shown, one) for one in scaled)


def test_no_object_hides_more_than_a_quarter_of_an_earlier_one(pasted: Scenes):
    for labels in pasted.labels:
        boxes = corners(labels)
        for later in range(len(boxes)):
            for earlier in range(later):
                (a, b, c, d), (e, f, g, h) = boxes[later], boxes[earlier]
                shared = max(0, min(c, g) - max(a, e)) * max(0, min(d, h) - max(b, f))
                assert shared <= 0.25 * (g - e) * (h - f)


def test_scenes_are_the_same_every_time_and_differ_between_splits(pasted: Scenes):
    again = open_scenes("pasted/digits", img_size=PX)
    assert torch.equal(again.val.pixels[:], pasted.pixels[:])
    assert torch.equal(again.val.labels, pasted.labels)
    assert len(again.train) == 1437 // 4
    assert not torch.equal(again.train.labels[:90, 0], pasted.labels[:, 0])


def test_mirrored_images_and_boxes_still_go_together(pasted: Scenes):
    turning = replace(pasted, may_flip=True)
    recipe = Recipe(name="r", epochs=1, batch_size=90, lr=1.0, hflip=True)
    ((pixels, targets),) = batches(turning, recipe, 0, torch.device("cpu"))
    ((still, known),) = batches(turning, replace(recipe, hflip=False), 0, torch.device("cpu"))
    turned = [i for i in range(90) if not torch.equal(pixels[i], still[i])]
    assert 20 < len(turned) < 70
    for i in range(90):
        assert torch.equal(pixels[i], still[i].flip(-1) if i in turned else still[i])
        ours, before = corners(targets[i]), corners(known[i])
        assert ours == ([(PX - c, b, PX - a, d) for a, b, c, d in before] if i in turned else before)
    assert torch.equal(targets[..., 0], known[..., 0])


def test_a_part_keeps_what_belongs_together(pasted: Scenes):
    rest, held = split(pasted, Recipe(name="r", epochs=1, batch_size=4, lr=1.0, held_out=0.2))
    assert held is not None
    assert (len(rest), len(held)) == (72, 18)
    part = pasted.part(torch.tensor([5, 3]))
    assert torch.equal(part.pixels[:][1], pasted.pixels[:][3])
    for name in ("labels", "areas", "crowds", "sizes"):
        assert torch.equal(getattr(part, name)[1], getattr(pasted, name)[3])
    assert np.array_equal(part.truths[1].boxes, pasted.truths[3].boxes)


# folders in COCO's layout


def written(root: Path, scenes: Scenes, split: str, *, width: int = 1) -> None:
    """A folder of COCO with these scenes, pictures stretched to `width` times their width."""
    pictures, boxes = [], []
    (root / f"{split}2017").mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    for at in range(len(scenes)):
        pictures.append({"id": 7 * at + 2, "file_name": f"{at:03}.png", "width": PX * width, "height": PX})
        picture = to_pil_image(scenes.pixels[at : at + 1][0])
        picture.resize((PX * width, PX), Image.Resampling.NEAREST).save(root / f"{split}2017" / f"{at:03}.png")
        for label, (left, top, right, bottom) in zip(scenes.labels[at, :, 0], corners(scenes.labels[at]), strict=False):
            box = [left * width, top, (right - left) * width, bottom - top]
            known = {"image_id": 7 * at + 2, "category_id": 3 * int(label) + 1, "bbox": box, "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, "area": box[2] * box[3] / 2, **known})
    # ids with gaps and in another order, as in COCO itself
    classes = [{"id": 3 * c + 1, "name": name} for c, name in reversed(list(enumerate(scenes.class_names)))]
    save(root, {"images": pictures, "annotations": boxes, "categories": classes}, split)


def save(root: Path, content: dict[str, Any], split: str = "val") -> None:
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


def read(root: Path) -> dict[str, Any]:
    return json.loads((root / "annotations" / "instances_val2017.json").read_text())


@pytest.fixture
def few(pasted: Scenes) -> Scenes:
    return pasted.part(torch.arange(6))


@pytest.fixture
def folder(tmp_path: Path, few: Scenes) -> Path:
    for name in ("train", "val"):
        written(tmp_path / "set", few, name)
    return tmp_path / "set"


def opened(folder: Path, px: int = PX) -> Scenes:
    return open_scenes(f"coco/{folder}", img_size=px).val


def same_labels(found: Scenes, wanted: Scenes) -> None:
    most = found.labels.shape[1]
    torch.testing.assert_close(found.labels, wanted.labels[:, :most])
    assert (wanted.labels[:, most:, 0] == -1).all()


def test_a_folder_of_coco_gives_back_what_was_written(folder: Path, few: Scenes):
    found = opened(folder)
    assert torch.equal(found.pixels[:], few.pixels[:])
    same_labels(found, few)
    assert found.class_names == few.class_names
    assert (found.name, found.split) == ("coco/set", "val")
    torch.testing.assert_close(found.areas, few.areas[:, : found.areas.shape[1]] / 2)
    assert found.sizes.tolist() == [[PX, PX]] * 6


def test_annotations_beside_the_pictures_are_read_as_well(folder: Path, few: Scenes):
    for old, new in (("train", "train"), ("val", "valid")):
        (folder / f"{old}2017").rename(folder / new)
        (folder / "annotations" / f"instances_{old}2017.json").rename(folder / new / "_annotations.coco.json")
    same_labels(opened(folder), few)


def test_pictures_of_other_sides_become_squares_and_boxes_are_judged_in_the_pixels_of_the_file(
    tmp_path: Path, few: Scenes
):
    for name in ("train", "val"):
        written(tmp_path, few, name, width=2)
    found = opened(tmp_path, 32)
    assert found.pixels.shape == (6, 1, 32, 32)
    same_labels(found, few)  # in shares of the picture nothing has changed
    assert found.sizes.tolist() == [[2 * PX, PX]] * 6
    for ours, before in zip(found.truths, few.truths, strict=True):
        np.testing.assert_allclose(ours.boxes, before.boxes * [2, 1, 2, 1], atol=1e-3)


def test_crowds_are_not_learnt_and_are_known_when_judging(folder: Path):
    content = read(folder)
    content["annotations"][0]["iscrowd"] = 1
    save(folder, content)
    found = opened(folder)
    assert found.truths[0].crowds.tolist() == [True] + [False] * (len(found.truths[0].classes) - 1)
    targets = found.targets(torch.arange(6))
    assert targets[0, 0, 0] == -1
    assert (targets[..., 0] >= 0).sum() == (found.labels[..., 0] >= 0).sum() - 1


def test_boxes_end_at_the_border_and_those_beyond_it_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]):
    content = read(folder)
    first = {**content["annotations"][0], "bbox": [-10, 50, 30, 100]}
    beyond = [{**first, "id": 90 + i, "bbox": bbox} for i, bbox in enumerate(([70, 70, 5, 5], [10, 10, 0, 5]))]
    content["annotations"] = [first, *beyond]
    save(folder, content)
    found = opened(folder)
    np.testing.assert_allclose(found.truths[0].boxes, [[0, 50, 20, 14]], atol=1e-4)
    assert all(len(truth.classes) == 0 for truth in found.truths[1:])  # images without objects stay
    assert "left out: 2 boxes of instances_val2017.json" in capsys.readouterr().err


def without(field: str, where: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[where][0].pop(field)


def having(field: str, value: Any, where: str = "annotations") -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[where][0].update({field: value})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (having("bbox", [1, 2, 3]), r"annotation 1 has the bbox \[1, 2, 3\]; it takes four numbers"),
        (having("bbox", [1, 2, None, 3]), "four numbers"),
        (having("bbox", [1, 2, float("nan"), 3]), "four numbers"),
        (having("bbox", "1 2 3 4"), "four numbers"),
        (having("area", "large"), "annotation 1 has the area large; it takes a number"),
        (having("image_id", 999), "annotation 1 has the image_id 999, which is not listed"),
        (having("category_id", 2), "annotation 1 has the category_id 2, which is not listed"),
        (without("category_id", "annotations"), "annotation 1 has no category_id"),
        (without("width", "images"), "image 2 has no width"),
        (having("height", 0, "images"), "image 2 has the height 0"),
        (having("id", [1], "images"), "image .* has no id"),
        (having("id", 9, "images"), "images with one id twice"),
        (lambda content: content.pop("categories"), "lists of images, annotations, categories"),
        (lambda content: content["categories"].clear(), "lists no categories"),
        (lambda content: content["annotations"].clear(), "no box to be found"),
        (lambda content: content["images"].append(3), "lists 3 as image"),
        (having("width", 65, "images"), r"000.png: it has 64 x 64 pixels, and instances_val2017.json says 65 x 64"),
        (having("file_name", "gone.png", "images"), "cannot read .*gone.png"),
    ],
)
def test_annotations_that_are_wrong_are_one_line(folder: Path, change: Callable[[dict[str, Any]], Any], says: str):
    content = read(folder)
    change(content)
    save(folder, content)
    with pytest.raises(UserError, match=says) as error:
        opened(folder)
    assert "\n" not in str(error.value)


def test_files_that_are_missing_or_damaged_are_one_line(folder: Path, tmp_path: Path):
    file = folder / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text()[:200])
    with pytest.raises(UserError, match=r"cannot read .*instances_val2017.json: .*get it again"):
        opened(folder)
    file.unlink()
    with pytest.raises(UserError, match=r"no val split: neither annotations/instances_val\*.json nor"):
        opened(folder)
    with pytest.raises(UserError, match=r"^no folder .*nowhere"):
        opened(tmp_path / "nowhere")
    with pytest.raises(UserError, match="unknown detection data 'cocoa'; did you mean coco"):
        open_scenes("cocoa/x", img_size=PX)
    with pytest.raises(UserError, match="write pasted/DATA"):
        open_scenes("pasted", img_size=PX)
    tiny = open_scenes("pasted/digits", img_size=8)
    with pytest.raises(UserError, match="16 or more"):
        _ = tiny.val


def test_unreadable_pictures_can_be_left_out_with_their_boxes(folder: Path, few: Scenes):
    (folder / "val2017" / "002.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"002\.png"):
        opened(folder)
    found = open_scenes(f"coco/{folder}", img_size=PX, skip_unreadable=True).val
    assert len(found) == 5
    torch.testing.assert_close(found.labels[2], few.labels[3, : found.labels.shape[1]])
    assert torch.equal(found.pixels[:][2], few.pixels[:][3])
