"""Which way do the pictures of CIFAR-10 move? TimeSformers that begin with an image model's weights, and with new ones.

    python benchmarks/video_cifar10.py --data hfds/path/to/cifar10 --out results/video_cifar10.jsonl --untimed

An image model learns what the pictures show. Models of clips of 8 frames, with joint and with divided attention, then
learn from its weights, and beside them from new ones, which of 13 motions a clip shows; so does a model of one frame,
which by how the clips are made cannot. On the command line one of them is

    paretovit train vit_pico_patch8_32 --data DATA --out runs/image
    paretovit train runs/image --video divided --data moving/DATA --out runs/divided
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from script import script
from training_queue import Queue, arguments

from paretovit.spec import ModelSpec
from paretovit.training.data import open_data
from paretovit.training.recipe import Recipe
from paretovit.training.start import begin_from
from paretovit.zoo.catalog import resolve
from paretovit.zoo.videos import ATTENTION, FRAMES, on_videos

IMAGE = "vit_pico_patch8_32"


def main() -> int:
    parser = arguments(__doc__ or "", recipe="demo", changes=["epochs=10"], minutes=24 * 60, device="cpu")
    parser.add_argument("--images", type=int, default=5000, help="pictures that the image model is trained on")
    parser.add_argument("--clips", type=int, default=5200, help="clips that each model of them is trained on")
    study = _Study(parser.parse_args())
    return 1 if study.over_seeds(study.of) else 0


class _Study(Queue):
    """The trainings, each of which is skipped where it was done before; the data are read once."""

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.pictures = open_data(options.data, img_size=32)
        self.clips = {count: open_data(f"moving/{options.data}", img_size=32, frames=count) for count in (1, FRAMES)}

    def of(self, recipe: Recipe) -> None:
        folder = self.options.runs / f"seed{recipe.seed}"
        image = resolve(IMAGE, num_classes=self.pictures.val.num_classes)
        self.train(image, self.pictures, replace(recipe, train_images=self.options.images), folder / "image")
        moving = replace(recipe, train_images=self.options.clips)
        for attention in ATTENTION:
            spec = self.spec(image, attention, FRAMES)
            begin = begin_from(str(folder / "image"), spec, new_head=True)
            self.train(spec, self.clips[FRAMES], moving, folder / f"{attention}-from-image", begin)
            self.train(spec, self.clips[FRAMES], moving, folder / attention)
        self.train(self.spec(image, "joint", 1), self.clips[1], moving, folder / "one-frame")

    def spec(self, image: ModelSpec, attention: str, frames: int) -> ModelSpec:
        return replace(on_videos(image, attention, frames=frames), num_classes=self.clips[frames].val.num_classes)


if __name__ == "__main__":
    script(main)
