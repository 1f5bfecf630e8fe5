from __future__ import annotations

import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from paretovit.errors import UserError
from paretovit.training.data import DATA, Images, open_data
from paretovit.training.data._pictures import Pictures


def png(colour: int | tuple[int, int, int], size: tuple[int, int] = (4, 4)) -> bytes:
    stream = io.BytesIO()
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(stream, "png")
    return stream.getvalue()


RED, GREEN, BLUE = png((255, 0, 0)), png((0, 255, 0)), png((0, 0, 255))


# digits


def test_digits_are_split_once_and_for_all_into_all_of_them():
    data, digits = open_data("digits"), load_digits()
    assert (tuple(data.train.pixels.shape), tuple(data.val.pixels.shape)) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    both = torch.cat((data.train.pixels, data.val.pixels)).float() * 16 / 255
    assert sorted(both.round().flatten(1).tolist()) == sorted(digits.data.tolist())
    assert torch.equal(open_data("digits").val.pixels, data.val.pixels)


def test_each_digit_is_as_common_in_both_splits():
    data = open_data("digits")
    share = data.val.labels.bincount() / (data.val.labels.bincount() + data.train.labels.bincount())
    assert ((share - 0.2).abs() < 0.005).all()


def test_a_digit_keeps_its_label():
    data, digits = open_data("digits"), load_digits()
    label_of = {
        tuple(image): label for image, label in zip(digits.data.astype(int).tolist(), digits.target, strict=True)
    }
    stored = (data.val.pixels.float() * 16 / 255).round().int().flatten(1).tolist()
    assert [label_of[tuple(image)] for image in stored] == data.val.labels.tolist()


def test_normalised_digits_have_mean_0_and_deviation_1():
    train = open_data("digits").train
    values = train.normalised(train.pixels)
    assert abs(float(values.mean())) < 0.005
    assert abs(float(values.std()) - 1) < 0.005


def test_digits_can_be_made_larger_and_coloured_but_not_smaller():
    large = open_data("digits", img_size=16, in_chans=3).val
    assert tuple(large.pixels.shape) == (360, 3, 16, 16)
    assert large.normalised(large.pixels[:2]).shape == (2, 3, 16, 16)
    with pytest.raises(UserError, match="image size of 8 or more"):
        open_data("digits", img_size=4).val.pixels  # noqa: B018


# fake


def test_fake_images_are_not_real_and_have_as_many_classes_as_asked_for():
    assert not open_data("fake", img_size=8).train.real
    assert open_data("fake", img_size=8).val.num_classes == 10
    assert open_data("fake/37", img_size=8, in_chans=1).val.num_classes == 37
    with pytest.raises(UserError, match="number of classes"):
        open_data("fake/many").val.pixels  # noqa: B018


# a folder of class folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Classes ant, bee, cat in training; no ant in validation."""
    for place, content in {
        "train/ant/1.png": RED,
        "train/bee/1.png": GREEN,
        "train/cat/1.png": BLUE,
        "val/bee/1.png": GREEN,
        "val/cat/1.png": BLUE,
    }.items():
        file = tmp_path / "insects" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "insects"


def test_classes_of_a_folder_are_numbered_by_its_training_half(folder: Path):
    data = open_data(str(folder))
    assert data.train.class_names == data.val.class_names == ("ant", "bee", "cat")
    assert (data.train.labels.tolist(), data.val.labels.tolist()) == ([0, 1, 2], [1, 2])
    assert data.val.pixels[:, :, 0, 0].tolist() == [[0, 255, 0], [0, 0, 255]]
    assert data.val.name == "folder/insects"


def test_a_class_that_was_not_trained_on_is_refused(folder: Path):
    (folder / "val" / "dog").mkdir()
    (folder / "val" / "dog" / "1.png").write_bytes(RED)
    with pytest.raises(UserError, match="class dog is not in the training folder"):
        open_data(str(folder)).val.labels  # noqa: B018


def test_a_folder_without_its_val_half_is_never_validated_on_its_training_half(folder: Path):
    (folder / "val").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="no val/ folder"):
        open_data(str(folder)).val.labels  # noqa: B018


def test_an_empty_half_says_what_belongs_there(tmp_path: Path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        open_data(str(tmp_path)).train.labels  # noqa: B018


@pytest.mark.parametrize("content", [b"no picture", RED[:40], b""])
def test_a_picture_that_cannot_be_read_is_named_and_never_passed_over(folder: Path, content: bytes):
    (folder / "train" / "bee" / "1.png").write_bytes(content)
    with pytest.raises(UserError, match=r"^cannot read \S+/train/bee/1\.png: [^\n]+$"):
        open_data(str(folder)).train.labels  # noqa: B018


def test_pictures_of_several_sizes_need_a_size(folder: Path):
    (folder / "train" / "cat" / "1.png").write_bytes(png((0, 0, 255), (6, 6)))
    with pytest.raises(UserError, match="--img-size"):
        open_data(str(folder)).train.labels  # noqa: B018
    assert tuple(open_data(str(folder), img_size=4).train.pixels.shape) == (3, 3, 4, 4)


def test_of_a_wide_picture_the_middle_is_taken(folder: Path):
    wide = np.zeros((2, 6, 3), dtype=np.uint8)
    wide[:, 2:4] = 200
    Image.fromarray(wide).save(folder / "train" / "ant" / "1.png")
    assert (open_data(str(folder), img_size=2).train.pixels[0] == 200).all()


def test_grey_is_made_of_colour_where_a_model_asks_for_it(folder: Path):
    green = open_data(str(folder), in_chans=1).val.pixels[0]
    assert tuple(green.shape) == (1, 4, 4)
    assert (green == round(0.587 * 255)).all()  # the luma of ITU-R 601


def test_a_set_that_would_fill_the_memory_is_read_when_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch):
    held = open_data(str(folder)).train
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 200}[name])
    read = open_data(str(folder)).train  # 3 x 3 x 4 x 4 bytes
    assert isinstance(read.pixels, Pictures)
    assert tuple(read.pixels.shape) == tuple(held.pixels.shape)
    assert torch.equal(read.pixels[torch.tensor([2, 0])], held.pixels[[2, 0]])
    assert torch.equal(read.labels, held.labels)
    assert read.pictures(1)[0].getpixel((0, 0)) == (0, 255, 0)
    part = read.part(torch.tensor([2, 1])).part(torch.tensor([1]))
    assert torch.equal(part.pixels[:], held.pixels[1:2])
    (folder / "train" / "bee" / "1.png").write_bytes(b"gone bad")
    with pytest.raises(UserError, match=r"cannot read .*bee"):
        read.pixels[:]


def saved(picture: Image.Image, kind: str = "png", **how: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()


PALETTE = Image.new("P", (4, 4), 1)
PALETTE.putpalette([0, 0, 0, 200, 100, 50])


@pytest.mark.parametrize(
    ("content", "becomes"),
    [
        (saved(Image.new("L", (4, 4), 90)), [90, 90, 90]),
        (saved(Image.new("1", (4, 4), 1)), [255, 255, 255]),
        (saved(Image.new("LA", (4, 4), (90, 10))), [90, 90, 90]),
        (saved(Image.new("RGBA", (4, 4), (1, 2, 3, 0))), [1, 2, 3]),
        (saved(PALETTE), [200, 100, 50]),
        (saved(PALETTE, transparency=b"\x00\x80"), [200, 100, 50]),
        (saved(PALETTE, "gif"), [200, 100, 50]),
        (saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "tiff"), [255, 0, 0]),
        (saved(Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16))), [128, 128, 128]),
        (saved(Image.fromarray(np.full((4, 4), 77, dtype=np.int32)), "tiff"), [77, 77, 77]),
        (saved(Image.fromarray(np.full((4, 4), 99.6, dtype=np.float32)), "tiff"), [100, 100, 100]),
    ],
)
def test_every_mode_of_a_picture_becomes_its_colours(folder: Path, content: bytes, becomes: list[int]):
    (folder / "train" / "ant" / "1.png").write_bytes(content)
    assert open_data(str(folder), in_chans=3).train.pixels[0, :, 0, 0].tolist() == becomes


def test_a_picture_that_unpacks_to_gigabytes_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 20):  # Pillow warns of the one and refuses the other
        (folder / "train" / "cat" / "1.png").write_bytes(png((0, 0, 255), (side, side)))
        with pytest.raises(UserError, match=r"^cannot read \S+cat/1\.png: it unpacks to more than 100 pixels; [^\n]+$"):
            open_data(str(folder), img_size=4).train.labels  # noqa: B018


def test_pictures_that_cannot_be_read_are_left_out_by_name_on_request(folder: Path, capsys: pytest.CaptureFixture[str]):
    for number, content in enumerate([RED[:40], b"", b"no picture"], start=2):
        (folder / "train" / "bee" / f"{number}.png").write_bytes(content)
    (folder / "train" / "ant" / "2.png").write_bytes(RED)
    train = open_data(str(folder), skip_unreadable=True).train
    assert train.labels.tolist() == [0, 0, 1, 2]
    assert train.pixels[:, :, 0, 0].tolist() == [[255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["left out"] * 3
    assert all(f"bee/{number}.png" in line for number, line in zip((2, 3, 4), lines, strict=True))
    for file in (folder / "train").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="none of 7 pictures can be read"):
        open_data(str(folder), skip_unreadable=True).train.labels  # noqa: B018


def test_some_classes_are_numbered_anew_and_named():
    some = open_data("digits", classes="3-5,8").val
    everything = open_data("digits").val
    assert (some.name, some.class_names, some.num_classes) == ("digits[3-5,8]", ("3", "4", "5", "8"), 4)
    for new, old in enumerate((3, 4, 5, 8)):
        assert torch.equal(some.pixels[some.labels == new], everything.pixels[everything.labels == old])
    for classes, says in {
        "3-11": "no class 10",
        "1,1": "one twice",
        "a": "cannot read the classes",
        "": "cannot",
    }.items():
        with pytest.raises(UserError, match=says):
            open_data("digits", classes=classes).val  # noqa: B018


# parquet in the layout of Hugging Face


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_parquet(file: Path, rows: dict[str, list], names: list[str] | None) -> Path:
    """Pictures as structs of bytes and path, as `datasets` writes them; with `names`, labels are class labels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {}
    for name, values in rows.items():
        if isinstance(values[0], bytes):
            kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
            columns[name] = pyarrow.array([{"bytes": v, "path": f"{i}.png"} for i, v in enumerate(values)], type=kind)
        else:
            columns[name] = pyarrow.array(values)
    table = pyarrow.table(columns)
    if names is not None:
        features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, file)
    return file.parent


@pytest.fixture
def cifar(tmp_path: Path, cache: None) -> Path:
    names = ["plane", "frog", "ship"]
    write_parquet(
        tmp_path / "mini/train-00000-of-00001.parquet", {"img": [RED, GREEN, BLUE], "label": [2, 0, 1]}, names
    )
    return write_parquet(tmp_path / "mini/test-00000-of-00001.parquet", {"img": [BLUE, RED], "label": [1, 2]}, names)


def test_parquet_files_are_read_with_their_own_column_names_and_splits(cifar: Path):
    data = open_data(f"hfds/{cifar}")
    assert (data.train.labels.tolist(), data.val.labels.tolist()) == ([2, 0, 1], [1, 2])
    assert data.train.pixels[:, :, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert data.val.class_names == ("plane", "frog", "ship")
    assert (data.val.name, data.val.split) == ("hfds/mini", "test")  # no path of this machine
    assert (data.train.in_chans, data.train.image_px) == (3, 4)


def test_bare_labels_are_counted_over_all_splits(tmp_path: Path, cache: None):
    write_parquet(tmp_path / "bare/train-0.parquet", {"picture": [RED, GREEN], "fine": [0, 4]}, None)
    write_parquet(tmp_path / "bare/validation-0.parquet", {"picture": [RED], "fine": [1]}, None)
    assert open_data(f"hfds/{tmp_path / 'bare'}").val.num_classes == 5


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, cache: None):
    write_parquet(tmp_path / "odd/train-0.parquet", {"img": [RED, b"no picture", BLUE], "label": [0, 0, 0]}, ["a"])
    with pytest.raises(UserError, match=r"^cannot read row 1 of \S+odd \(train, column img\): [^\n]+$"):
        open_data(f"hfds/{tmp_path / 'odd'}").train.labels  # noqa: B018


def test_a_label_beyond_the_classes_is_named(tmp_path: Path, cache: None):
    write_parquet(tmp_path / "odd/train-0.parquet", {"img": [RED, RED], "label": [0, -1]}, ["a"])
    with pytest.raises(UserError, match="image 1: label -1 is not one of the 1 classes"):
        open_data(f"hfds/{tmp_path / 'odd'}").train.labels  # noqa: B018


def test_parquet_without_a_needed_part_says_which(tmp_path: Path, cache: None):
    write_parquet(tmp_path / "a/train-0.parquet", {"text": ["x"], "label": [0]}, None)
    with pytest.raises(UserError, match="no picture column among text, label"):
        open_data(f"hfds/{tmp_path / 'a'}").train.labels  # noqa: B018
    write_parquet(tmp_path / "b/train-0.parquet", {"img": [RED]}, None)
    with pytest.raises(UserError, match="no label column among img"):
        open_data(f"hfds/{tmp_path / 'b'}").train.labels  # noqa: B018
    with pytest.raises(UserError, match="no val split, only train"):
        open_data(f"hfds/{tmp_path / 'b'}").val.labels  # noqa: B018


def test_folders_without_readable_parquet_are_refused(tmp_path: Path, cache: None):
    with pytest.raises(UserError, match=r"no folder .*nothing is downloaded"):
        open_data(f"hfds/{tmp_path}/nowhere").train.labels  # noqa: B018
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="no parquet file"):
        open_data(f"hfds/{tmp_path}/set").train.labels  # noqa: B018
    (tmp_path / "set" / "train-0.parquet").write_bytes(b"PAR1 but no more PAR1")
    with pytest.raises(UserError, match=r"^cannot read the parquet files in [^\n]+$"):
        open_data(f"hfds/{tmp_path}/set").train.labels  # noqa: B018


def test_the_missing_library_comes_with_the_line_to_type(cifar: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'paretovit\[hfds\]'"):
        open_data(f"hfds/{cifar}").train.labels  # noqa: B018


# torchvision's own


def test_torchvision_files_are_read_where_they_lie(tmp_path: Path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for half, labels in {"train": [3, 1, 4], "t10k": [5, 9]}.items():
        count = len(labels)
        pixels = bytes(i for i in range(count) for _ in range(28 * 28))
        (raw / f"{half}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, count, 28, 28) + pixels)
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, count) + bytes(labels))
    data = open_data(f"torch/mnist/{tmp_path}")
    assert (data.train.labels.tolist(), data.val.labels.tolist()) == ([3, 1, 4], [5, 9])
    assert data.train.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert (data.val.name, data.val.split, data.val.in_chans) == ("torch/mnist", "test", 1)


def test_torchvision_files_that_are_not_there_are_not_downloaded(tmp_path: Path):
    with pytest.raises(UserError, match="nothing is downloaded"):
        open_data(f"torch/cifar10/{tmp_path}").val.labels  # noqa: B018


# all of them


@pytest.mark.parametrize(
    ("name", "says"),
    [("digts", "did you mean digits"), ("./nowhere", "neither a folder nor"), ("torch/cifr10", "did you mean cifar10")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, says: str):
    with pytest.raises(UserError, match=says):
        open_data(name).train.labels  # noqa: B018


@pytest.mark.parametrize("options", [{"img_size": 0}, {"in_chans": 2}])
def test_impossible_images_are_refused_before_anything_is_read(options: dict[str, int]):
    with pytest.raises(UserError, match=r"at least 1|1 channel"):
        open_data("digits", **options)


def test_every_source_tells_its_first_line():
    assert all(DATA.summary(name) for name in DATA.names())


def test_no_image_may_have_a_class_that_is_not_there():
    with pytest.raises(UserError, match="image 1: label 2"):
        Images(
            name="odd",
            split="val",
            pixels=torch.zeros(2, 1, 1, 1, dtype=torch.uint8),
            labels=torch.tensor([0, 2]),
            class_names=("a", "b"),
            mean=(0.0,),
            std=(1.0,),
        )
