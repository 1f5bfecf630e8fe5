"""Which way do the pictures of CIFAR-10 move? TimeSformers that begin with an image model's weights, and with new ones.

    python benchmarks/video_cifar10.py --data hfds/path/to/cifar10 --out results/video_cifar10.jsonl --untimed

An image model learns what the pictures show. Models of clips of 8 frames, with joint and with divided attention, then
learn from its weights, and beside them from new ones, which of 13 motions a clip shows; so does a model of one frame,
which by how the clips are made cannot. On the command line one of them is

    paretovit train vit_pico_patch8_32 --data DATA --out runs/image
    paretovit train runs/image --video divided --data moving/DATA --out runs/divided
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import torch
from training_queue import arguments, until, write

from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.data import Data, open_data
from paretovit.training.loop import Begin, train
from paretovit.training.recipe import Recipe, named_recipe, with_changes
from paretovit.training.start import begin_from
from paretovit.zoo.catalog import resolve
from paretovit.zoo.videos import ATTENTION, FRAMES, on_videos

IMAGE = "vit_pico_patch8_32"


def main() -> int:
    parser = arguments(__doc__ or "", recipe="demo", changes=["epochs=10"], minutes=24 * 60, device="cpu")
    parser.add_argument("--images", type=int, default=5000, help="pictures that the image model is trained on")
    parser.add_argument("--clips", type=int, default=5200, help="clips that each model of them is trained on")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = with_changes(named_recipe(options.recipe), options.set)
    options.runs.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    study = _Study(options, Store(str(options.store or options.runs / f"{options.out.stem}.sqlite")), end)
    try:
        for seed in options.seeds:
            study.of(replace(recipe, seed=seed))
    except KeyboardInterrupt as stop:
        if time.monotonic() <= end:
            raise  # a person's Ctrl-C
        print(stop, file=sys.stderr)
        return 1
    return 0


class _Study:
    """The trainings, each of which is skipped where it was done before; the data are read once."""

    def __init__(self, options: Namespace, store: Store, end: float) -> None:
        self.options, self.store, self.end = options, store, end
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

    def train(self, spec: ModelSpec, data: Data, recipe: Recipe, out: Path, begin: Begin | None = None) -> None:
        result = train(spec, data, recipe, out=out, begin=begin, device=self.options.device, progress=until(self.end))
        self.store.append([row for row in result.rows if not self.store.has(row.conditions, row.indicator)], [spec])
        write(self.store, self.options.out, untimed=self.options.untimed)
        top1 = result.rows[0]
        print(f"{out}: top-1 {top1.value:.4f} on {top1.conditions.data}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
