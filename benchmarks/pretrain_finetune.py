"""Pre-train, fine-tune at a higher resolution on other classes, evaluate, report: CIFAR-10, classes 0-4 to 5-9.

    python benchmarks/pretrain_finetune.py --data hfds/path/to/cifar10 --out results/pretrain_finetune.jsonl --untimed

Each model is trained on classes 0-4 at 32 px, then with a new head and an interpolated position table on 200 images of
each of the classes 5-9 at 48 px, and judged there at 32 and 48 px; beside it one with new weights gets the same fine-
tuning. With `--report FOLDER` the page is written, too. On the command line the same path is

    paretovit train vit_pico_patch4_32 --data DATA --classes 0-4 --out runs/first --set train_images=2500 --epochs 6
    paretovit train runs/first --data DATA --classes 5-9 --img-size 48 --new-head --per-class 200 --out runs/second
    paretovit evaluate runs/second --data DATA --classes 5-9 --img-size 32 --img-size 48
    paretovit report --out report
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from script import script
from training_queue import Queue, arguments

from paretovit import write as write_report
from paretovit.training.data import open_data
from paretovit.training.evaluate import evaluate
from paretovit.training.recipe import Recipe
from paretovit.training.run import how_trained
from paretovit.training.start import begin_from
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

MODELS = ("vit_pico_patch4_32", "performer_pico_patch4_32")
FIRST_PX, PX = 32, 48


def main() -> int:
    parser = arguments(__doc__ or "", recipe="demo", changes=[], minutes=24 * 60, device="cpu")
    parser.add_argument("--report", type=Path, default=None, help="folder of the page, when all is done")
    options = parser.parse_args()
    path = _Path(options)
    left = path.over_seeds(path.all_of)
    if options.report is not None and not left:
        write_report(path.store, options.report)
    return 1 if left else 0


class _Path(Queue):
    """The steps, each of which is skipped where it was done before; the data are read once."""

    def __init__(self, options: Namespace) -> None:
        super().__init__(options)
        self.first = open_data(options.data, img_size=FIRST_PX, classes="0-4")
        self.second = {px: open_data(options.data, img_size=px, classes="5-9") for px in (FIRST_PX, PX)}

    def all_of(self, recipe: Recipe) -> None:
        first = replace(recipe, train_images=2500, epochs=6, warmup_epochs=1)
        fine = replace(recipe, train_images=1000, epochs=4, warmup_epochs=0.5, lr=recipe.lr / 3)
        for model in MODELS:
            self.walk(model, first, fine)

    def walk(self, model: str, first: Recipe, fine: Recipe) -> None:
        folder = self.options.runs / f"{model}-seed{first.seed}"
        spec = resolve(model, num_classes=5)
        large = resolve(model, img_size=PX, num_classes=5)
        self.train(spec, self.first, first, folder / "first")
        begin = begin_from(str(folder / "first"), large, new_head=True)
        self.train(large, self.second[PX], fine, folder / "second", begin)
        self.train(large, self.second[PX], fine, folder / "new")
        recipe, seed = how_trained(folder / "second")
        for px, data in self.second.items():
            judged = replace(large, image_px=px)
            module = build(judged)
            begin_from(str(folder / "second"), judged).prepare(module)
            self.keep(evaluate(judged, module.eval(), data.val, recipe=recipe, seed=seed), [judged])


if __name__ == "__main__":
    script(main)
