"""Parquet files in the layout of Hugging Face data sets, read by timm's factory; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretovit.errors import UserError
from paretovit.training.data import COLOUR, GREY, Images, Source
from paretovit.training.data._pictures import stacked

SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "test")}


class Hfds(Source):
    """`hfds/PATH`: a local folder of parquet files, one column of pictures and one of labels.

    Splits   told by the names of the files (`train-00000-of-00001.parquet`); without a validation split the
             test split is the one validated on.
    Columns  the pictures are in the first column of that kind, whatever its name; the labels in `label`, or else in
             the first column of class labels, or else in the first of whole numbers.
    Copies   the library `datasets` keeps a copy of what it read in its own cache (`HF_HOME`).
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        if not path or not Path(path).is_dir():
            raise UserError(
                f"no folder {path or 'given after hfds/'}; nothing is downloaded here, so get the data first "
                "(hf download --repo-type dataset NAME --local-dir DIR) and write hfds/DIR"
            )
        tables = _tables(path)
        split = _split_name(path, split, list(tables))
        picture, label = _columns(path, tables[split].features)
        reader = _reader(path, split, picture, label)
        pixels, labels = stacked(
            reader.__getitem__,
            len(reader),
            where=lambda index: f"row {index} of {path} ({split}, column {picture})",
            img_size=img_size,
            in_chans=in_chans,
            skip_unreadable=self.skip_unreadable,
        )
        names = sorted(reader.class_to_idx, key=reader.class_to_idx.__getitem__)
        if not names:  # bare numbers: as many classes as the largest label of any split says
            largest = max(max(table[label]) for table in tables.values())
            names = [str(index) for index in range(largest + 1)]
        mean, std = GREY if pixels.shape[1] == 1 else COLOUR
        return Images(
            name=f"hfds/{Path(path).resolve().name}",
            split=split,
            pixels=pixels,
            labels=labels,
            class_names=tuple(names),
            mean=mean,
            std=std,
        )


def _tables(path: str) -> dict[str, Any]:
    """Every split, by name, with its `features`."""
    if not list(Path(path).rglob("*.parquet")):
        raise UserError(f"no parquet file in {path}; give a folder with files such as train-00000-of-00001.parquet")
    try:
        import datasets
    except ImportError:
        raise UserError("hfds/ needs the library datasets; type: pip install 'paretovit[hfds]'") from None
    datasets.disable_progress_bars()  # the screen is for our own progress and for one line per error
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        return dict(datasets.load_dataset(str(Path(path).resolve())))
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise UserError(f"cannot read the parquet files in {path}: {reason}; download them again") from error


def _split_name(path: str, split: str, present: list[str]) -> str:
    for name in SPLITS[split]:
        if name in present:
            return name
    raise UserError(
        f"{path} has no {split} split, only {', '.join(present)}; "
        f"name its files as {SPLITS[split][0]}-00000-of-00001.parquet"
    )


def _columns(path: str, features: dict[str, Any]) -> tuple[str, str]:
    """The names of the picture column and of the label column."""
    from datasets import ClassLabel, Image, Value

    # files not written by `datasets` hold pictures as plain structs
    pictures = [k for k, f in features.items() if isinstance(f, Image) or (isinstance(f, dict) and "bytes" in f)]
    numbers = [k for k, f in features.items() if isinstance(f, Value) and f.dtype.startswith(("int", "uint"))]
    labels = [k for k, f in features.items() if isinstance(f, ClassLabel)] + numbers
    if not pictures or not labels:
        missing = "picture" if not pictures else "label"
        raise UserError(
            f"{path} has no {missing} column among {', '.join(features)}; "
            "it needs pictures (bytes, path) and whole-number labels"
        )
    return pictures[0], "label" if "label" in labels else labels[0]


def _reader(path: str, split: str, picture: str, label: str) -> Any:
    """timm's reader: the picture file and the label of a row by index."""
    from timm.data import create_dataset

    return create_dataset(f"hfds/{Path(path).resolve()}", split=split, input_key=picture, target_key=label).reader
