"""torchvision's own data sets, through timm's factory, from files that are already on disk."""

from __future__ import annotations

from typing import Any

from paretovit.errors import UserError, unknown
from paretovit.training.data import COLOUR, GREY, Images, Source
from paretovit.training.data._pictures import stacked

NAMES = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist")


class Torch(Source):
    """`torch/cifar10` in `./data`, or `torch/cifar10/DIR`, as torchvision's downloader leaves it.

    Nothing is downloaded here. The test half is the one validated on.
    """

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        from timm.data import create_dataset

        set_name, _, root = path.partition("/")
        if set_name not in NAMES:
            raise unknown("data of torchvision", set_name, NAMES)
        root = root or "data"
        try:
            dataset: Any = create_dataset(f"torch/{set_name}", root=root, split="train" if split == "train" else "val")
        except RuntimeError as error:  # what torchvision raises for files that are missing or damaged
            raise UserError(
                f"no {set_name} in {root}; nothing is downloaded here, so put torchvision's files there "
                f"and write torch/{set_name}/DIR for another folder"
            ) from error
        pixels, labels = stacked(
            dataset.__getitem__,
            len(dataset),
            where=lambda index: f"image {index} of {set_name} in {root} ({split})",
            img_size=img_size,
            in_chans=in_chans,
            skip_unreadable=self.skip_unreadable,
        )
        mean, std = GREY if pixels.shape[1] == 1 else COLOUR
        return Images(
            name=f"torch/{set_name}",
            split="train" if split == "train" else "test",
            pixels=pixels,
            labels=labels,
            class_names=tuple(str(name) for name in dataset.classes),
            mean=mean,
            std=std,
        )
