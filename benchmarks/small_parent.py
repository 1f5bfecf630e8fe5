"""A small parent for the findings on replaced and on sparse layers: 6 layers of width 64 at patch 4, on CIFAR-10.

It is trained on classes 0 to 4 and fine-tuned on 5 to 9 with a new head, as the thesis goes from ImageNet-21k to
ImageWoof; what is then done to it, is done on classes 5 to 9. A tenth of the training images is held out to look at;
the test images are looked at once, after the last epoch. Scripts that are given the same `--runs` share the parent.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from training_queue import Queue, arguments

from paretovit.optimize.replace import Parent
from paretovit.spec import ModelSpec, Stage
from paretovit.training.data import Data, open_data
from paretovit.training.loop import how_trained, train
from paretovit.training.recipe import Recipe
from paretovit.training.start import begin_from
from paretovit.zoo.checkpoint import load_model

SPEC = ModelSpec(
    name="vit_6x64_patch4_32", stages=(Stage(depth=6, dim=64, heads=2),), image_px=32, patch_px=4, num_classes=5
)
# AdamW with a warm-up and a cosine; long enough for the parent to be worth keeping
CHANGES = ("weight_decay=0.05", "lr=1e-3", "epochs=10", "batch_size=64", "held_out=0.1", "label_smoothing=0")
QUICK = ("train_images=4000", "epochs=5")  # and 10 epochs on the first classes


def parser(doc: str) -> argparse.ArgumentParser:
    """What such a script can be told."""
    made = arguments(doc, recipe="demo", changes=CHANGES, minutes=24 * 60, device="cpu")
    made.add_argument("--pretrain-epochs", type=int, default=None, help="30, or 10 for --quick")
    made.add_argument("--quick", action="store_true", help="fewer images, epochs and settings; see above")
    return made


class Bench(Queue):
    """Such a script, with its data."""

    def __init__(self, options: argparse.Namespace) -> None:
        if options.quick:
            options.set[len(CHANGES) : len(CHANGES)] = QUICK  # what was asked for comes later, and so holds
        options.pretrain_epochs = options.pretrain_epochs or (10 if options.quick else 30)
        super().__init__(options)

    @cached_property
    def _both(self) -> tuple[Data, Data]:
        return open_data(self.options.data, classes="0-4"), open_data(self.options.data, classes="5-9")

    @property
    def data(self) -> Data:
        """Classes 5 to 9."""
        return self._both[1]

    def of_parents(self, work: Callable[[Parent, Recipe], None]) -> int:
        """Do the work for the parent and the recipe of each seed that is this process's share; the number of seeds
        that the time did not suffice for."""
        return self.over_seeds(lambda recipe: work(self.parent(recipe), recipe))

    def parent(self, recipe: Recipe) -> Parent:
        """The model trained on the first classes, then on the second with all layers: what all else is set beside."""
        options, (first, second) = self.options, self._both
        folders = [self.folder(step, recipe.seed) for step in ("pretrained", "parent")]
        long = replace(recipe, epochs=options.pretrain_epochs)
        train(SPEC, first, long, out=folders[0], device=options.device, progress=self.watch)
        begin = begin_from(str(folders[0]), SPEC, new_head=True)
        result = train(SPEC, second, recipe, out=folders[1], begin=begin, device=options.device, progress=self.watch)
        self.keep(result.rows, [SPEC])
        spec, state = load_model(folders[1])
        return Parent(spec, state, how_trained(folders[1])[0] or "", recipe.seed)

    def folder(self, name: str, seed: int) -> Path:
        """Of a training, by what it is called, whatever characters that has."""
        plain = "".join(c if c.isalnum() or c in ".-" else "_" for c in name).replace("__", "_")
        return Path(self.options.runs) / f"{plain}-seed{seed}"
