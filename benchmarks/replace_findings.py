"""The findings of the thesis on replaced layers retried small: a parent of 6 layers at patch 4 on CIFAR-10.

    python benchmarks/replace_findings.py --data torch/cifar10 --out results/replace_cifar10.jsonl

The parent is trained on classes 0 to 4 and fine-tuned on 5 to 9 with a new head, as the thesis goes from ImageNet-21k
to ImageWoof; then its layers are replaced on classes 5 to 9. A tenth of the training images is held out to look at; the
test images are looked at once, after the last epoch. `--quick` is one seed and fewer images.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.5: figures 3.8 to
         3.12 and 3.19 to 3.21. A class token that hears nothing behind a stage at the very end (figure 3.19) is refused
         here, and so is not trained.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from training_queue import arguments, write

from paretovit.measurement import Measurement
from paretovit.optimize.replace import Distil, Parent, replace_layers, told_of
from paretovit.optimize.replacement import Plan, replaced
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.store import Store
from paretovit.training.data import Data, open_data
from paretovit.training.loop import how_trained, train
from paretovit.training.progress import Tick
from paretovit.training.recipe import Recipe, named_recipe, with_changes
from paretovit.training.start import begin_from
from paretovit.zoo.checkpoint import load_model

SPEC = ModelSpec(
    name="vit_6x64_patch4_32", stages=(Stage(depth=6, dim=64, heads=2),), image_px=32, patch_px=4, num_classes=5
)
EARLY, LATE, END = (0, 1), (3, 4), (4, 5)
MIXERS = ("focal", "shifted_window", "block_grid", "separable_conv", "pooling", "identity", "attention")
AUGMENTED = ("mixup=0.2", "dropout=0.1", "hflip=true", "crop_padding=4")


@dataclass(frozen=True)
class Setting:
    """A way to replace layers, and what it changes in the recipe; `finding` is what it is there for."""

    finding: str
    plan: Plan
    distil: Distil = field(default_factory=Distil)
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its folder."""
        words = f"{self.plan}, {self.distil}{', augmented' if self.changes else ''}"
        return "".join(c if c.isalnum() or c in ".-" else "_" for c in words).replace("__", "_")


def settings() -> Iterator[Setting]:
    """One for each bar of the thesis's figures that is retried."""

    def at(layers: tuple[int, int], mixer: str, **options: Any) -> Plan:
        return Plan(layers=(layers,), mixer=Part(mixer), **options)

    for layers in (EARLY, LATE):
        for mixer in MIXERS:
            yield Setting("where, and which mixer", at(layers, mixer))
    for mixer in ("focal", "attention"):
        for loss in ("mse", "ce", "mmd"):
            yield Setting("loss", at(LATE, mixer), Distil(loss=loss))
    for mixer in ("focal", "pooling"):
        for alpha in (0.0, 1.0):
            yield Setting("labels or parent alone", at(LATE, mixer), Distil(alpha=alpha))
    for layers in (LATE, END):
        yield Setting("class mixer", at(layers, "focal", class_tokens="mixed"))
    for layers, mixer in ((EARLY, "focal"), (LATE, "focal"), (EARLY, "identity"), (LATE, "identity")):
        yield Setting("patch-embed", at(layers, mixer, embed=True))
    for layers in (EARLY, LATE):
        yield Setting("augmentation", at(layers, "focal"), changes=AUGMENTED)


def main() -> int:
    options = _arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    end = time.monotonic() + 60 * options.minutes
    recipe = with_changes(named_recipe(options.recipe), options.set)
    first, second = (open_data(options.data, classes=classes) for classes in ("0-4", "5-9"))
    options.runs.mkdir(parents=True, exist_ok=True)
    store = Store(str(options.store or options.runs / f"{options.out.stem}.sqlite"))
    share, of = (int(n) for n in options.part.split("/"))
    left = 0
    for seed in options.seeds[share::of]:
        try:
            parent = _parent(options, replace(recipe, seed=seed), first, second, store, end)
            for setting in settings():
                _replace(options, setting, parent, replace(recipe, seed=seed), second, store, end)
        except KeyboardInterrupt:
            if time.monotonic() <= end:
                raise  # a person's Ctrl-C
            left += 1
    print(f"{left} seeds are not finished", file=sys.stderr)
    _summary(store, recipe)
    return 1 if left else 0


def _arguments() -> argparse.Namespace:
    # AdamW with a warm-up and a cosine; long enough for the parent to be worth keeping
    changes = ["weight_decay=0.05", "lr=1e-3", "epochs=10", "batch_size=64", "held_out=0.1", "label_smoothing=0"]
    parser = arguments(__doc__ or "", recipe="demo", changes=changes, minutes=24 * 60, device="cpu")
    parser.add_argument("--pretrain-epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="one seed, 4,000 images of 5 epochs, 10 for the parent")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.pretrain_epochs = options.seeds[:1], 10
        options.set = [*options.set, "train_images=4000", "epochs=5"]
    return options


def _parent(options: argparse.Namespace, recipe: Recipe, first: Data, second: Data, store: Store, end: float) -> Parent:
    """The model trained on the first classes, then on the second with all layers: what the others are set beside."""
    folders = [options.runs / f"{step}-seed{recipe.seed}" for step in ("pretrained", "parent")]
    kind = {"device": options.device, "progress": _until(end)}
    train(SPEC, first, replace(recipe, epochs=options.pretrain_epochs), out=folders[0], **kind)
    begin = begin_from(str(folders[0]), SPEC, new_head=True)
    result = train(SPEC, second, recipe, out=folders[1], begin=begin, **kind)
    _keep(store, result.rows, SPEC, options)
    spec, state = load_model(folders[1])
    return Parent(spec, state, how_trained(folders[1])[0] or "", recipe.seed)


def _replace(
    options: argparse.Namespace,
    setting: Setting,
    parent: Parent,
    recipe: Recipe,
    data: Data,
    store: Store,
    end: float,
) -> None:
    recipe = with_changes(recipe, setting.changes)
    spec = replaced(parent.spec, setting.plan).spec
    label = f"{recipe.label}, from {told_of(parent, setting.plan, setting.distil)}"
    if store.rows("train_time_s", spec=spec.key, recipe=label, seed=recipe.seed):
        return
    done = replace_layers(
        parent,
        setting.plan,
        data,
        recipe,
        out=options.runs / f"{setting.name}-seed{recipe.seed}",
        distil=setting.distil,
        device=options.device,
        progress=_until(end),
    )
    _keep(store, done.rows, spec, options)
    top1 = next(row for row in reversed(done.rows) if row.indicator == "top1")
    print(f"seed {recipe.seed}: {setting.name}: top-1 {top1.value:.4f}", file=sys.stderr, flush=True)


def _keep(store: Store, rows: Iterable[Measurement], spec: ModelSpec, options: argparse.Namespace) -> None:
    store.append([row for row in rows if not store.has(row.conditions, row.indicator)], [spec])
    write(store, options.out, untimed=options.untimed)


def _until(end: float) -> Any:
    def watch(tick: Tick) -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt

    return watch


def _summary(store: Store, recipe: Recipe) -> None:
    """Test accuracies over seeds, one line for each setting."""
    rows = [row for row in store.rows("top1") if row.conditions.split == "test"]
    _line("parent", [row for row in rows if " with layers " not in _label(row) and ", from " in _label(row)])
    for setting in settings():
        begins = f"{with_changes(recipe, setting.changes).label}, from "
        ends = f" with {setting.plan}, {setting.distil}"
        mine = [row for row in rows if _label(row).startswith(begins) and _label(row).endswith(ends)]
        _line(f"{setting.finding}: {setting.name}", mine)


def _label(row: Measurement) -> str:
    return str(row.conditions.recipe)


def _line(name: str, rows: list[Measurement]) -> None:
    values = [100 * row.value for row in rows if row.value is not None]
    if not values:
        return
    spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    apart = [row.origin.timing["distillation_loss"] for row in rows if "distillation_loss" in row.origin.timing]
    told = f", distillation loss {statistics.mean(apart):.4g}" if apart else ""
    print(f"{name}: {statistics.mean(values):.2f}{spread} ({len(values)} seeds){told}")


if __name__ == "__main__":
    sys.exit(main())
