"""Does a backbone that was scaled to recognise pictures find objects better, too, than a wider one of equal cost?

    python benchmarks/detection_cifar10.py --data torch/cifar10 --path results/scale_cifar10_macs.json \\
        --out results/detection_cifar10.jsonl --untimed

The model that a step of a search came to, and the search's start with nothing but its width grown to the same cost,
learn to recognise the pictures of CIFAR-10 by the recipe of the search. Each then becomes the backbone of a small
Deformable DETR, which learns to find such pictures in scenes of one to four of them. Scenes are twice as long and wide
as the pictures that the backbone was made for, so that it has four times the tokens. On the command line one of them is

    paretovit train runs/search/step2 --data DATA --out runs/image
    paretovit detect runs/image --data pasted/DATA --img-size 80 --head queries=20 --out runs/detector

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", sec. 4.3.2, on COCO.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from scale_cifar10 import RECIPE, wider
from script import script
from training_queue import Queue, arguments

from paretovit.optimize.scale_cost import Cost
from paretovit.spec import ModelSpec, from_json
from paretovit.training.data import open_data
from paretovit.training.recipe import Recipe, named_recipe, with_changes
from paretovit.transfer.detect import detect, start

HEAD = ("queries=20", "width=64", "layers=2", "heads=4", "hidden=128")


def main() -> int:
    parser = arguments(__doc__ or "", recipe="demo", changes=RECIPE, minutes=24 * 60, device="cpu")
    parser.add_argument("--path", type=Path, required=True, help="path.json of `paretovit scale --cost macs`")
    parser.add_argument("--step", type=int, default=2, help="of the path, 0 is its start")
    parser.add_argument("--scenes", type=int, default=12500, help="that a detector is trained on")
    parser.add_argument("--epochs", type=int, default=3, help="of a detector")
    study = _Study(parser.parse_args())
    return 1 if study.over_seeds(study.of) else 0


class _Study(Queue):
    """The trainings, each of which is skipped where it was done before."""

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.backbones = self._backbones(json.loads(options.path.read_text(encoding="utf-8")))

    def _backbones(self, path: dict[str, Any]) -> dict[str, ModelSpec]:
        step = path["steps"][self.options.step]
        kept = next(one for one in step["candidates"] if one["key"] == step["kept"])
        cost = Cost(path["search"]["cost"], from_json(path["search"]["start"]), self.store)
        return {"scaled": from_json(kept["spec"]), "wider": wider(cost, kept["ratio"]).spec}

    def of(self, recipe: Recipe) -> None:
        options = self.options
        changes = [f"train_images={options.scenes}", f"epochs={options.epochs}", "batch_size=32"]
        boxes = with_changes(named_recipe("boxes"), [*changes, f"seed={recipe.seed}"])
        for name, spec in self.backbones.items():
            folder = options.runs / f"seed{recipe.seed}" / name
            pictures = open_data(options.data, img_size=spec.square_px)
            self.train(spec, pictures, recipe, folder / "image")
            image, scenes = str(folder / "image"), f"pasted/{options.data}"
            begun = start(image, scenes, img_size=2 * spec.square_px, head=HEAD)
            result = detect(begun, boxes, out=folder / "detector", device=options.device, progress=self.watch)
            self.keep_of(folder / "detector", result, begun.spec)


if __name__ == "__main__":
    script(main)
