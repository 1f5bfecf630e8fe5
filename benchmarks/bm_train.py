"""Our training loop against timm's pieces put together as timm's train script does it: images per second end to end.

    python benchmarks/bm_train.py --data hfds/path/to/cifar10 > results/bm_train.jsonl
    python benchmarks/bm_train.py --data hfds/path/to/cifar10 --epochs 2 > results/bm_train_accuracy.jsonl

timm does not install its `train.py`, so the other side here is what that script runs, from the same functions: the
reader and `create_loader` with as many worker processes as cores, `create_transform`'s crop, flip and normalising,
`create_optimizer_v2`, `LabelSmoothingCrossEntropy`, and its loop. Both train vit_tiny at patch 4 on 32 px in float32
with AdamW from equal weights, and shift and mirror images at random: ours by whole batches, timm's one by one.

Pieces of so many steps are taken in turn, so that a drift of the machine hits both alike; `ratio` is timm's time over
ours, so above 1 ours is faster. `pipeline` is the input alone: its images per second over what the model takes.
With `--epochs` nothing is timed: both are trained for so many and judged, to see that they learn as much. Images are
then only mirrored, for else timm's crops would be compared with our shifts, and not the loops.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import timm
import torch
from paired import emit, environment, spread
from script import script
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from paretovit.devices import Busy, num_threads
from paretovit.spec import ModelSpec
from paretovit.training.batches import batches, steps_per_epoch
from paretovit.training.data import Data, Images, open_data
from paretovit.training.evaluate import score
from paretovit.training.linear_maps import fast_linear_maps
from paretovit.training.loop import make_optimizer
from paretovit.training.objective import Classification, Step
from paretovit.training.recipe import DEMO, Recipe, lr_at
from paretovit.training.splits import split
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.timm_weights import checkpoint_filter_fn

CPU = torch.device("cpu")
RECIPE = replace(
    DEMO, name="bm_train", batch_size=128, epochs=2, lr=1e-3, warmup_epochs=0.2, weight_decay=0.05, min_lr=1e-5,
    crop_padding=4, hflip=True, aux_weights=(), clip_grad=None,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10, as for `paretovit train`")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no training to the end")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=6, help="of a piece")
    parser.add_argument("--epochs", type=int, default=0, help="train both so long and judge them, and time nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train-images", type=int, default=None, help="of them, for --epochs")
    parser.add_argument("--val-images", type=int, default=None, help="that --epochs judges by")
    options = parser.parse_args()
    rounds = 7 if options.quick else options.rounds
    torch.set_num_threads(num_threads())
    environment(f"python benchmarks/bm_train.py {' '.join(sys.argv[1:])}")
    data = open_data(options.data, img_size=32)
    judged_by = data.val if options.val_images is None else data.val.part(torch.arange(options.val_images))
    spec = resolve("vit_tiny_patch4_32", num_classes=data.train.num_classes)
    if not options.epochs:
        _speed(spec, data, rounds, options.steps)
    else:
        recipe = replace(RECIPE, epochs=options.epochs, train_images=options.train_images, crop_padding=0)
        for seed in options.seeds:
            _accuracy(spec, data.train, judged_by, replace(recipe, seed=seed))


def _speed(spec: ModelSpec, data: Data, rounds: int, steps: int) -> None:
    """Pieces of both in turn, then each one's input alone."""
    sides = {"ours": _ours(spec, data.train, RECIPE), "timm": _timms(spec, data.train, RECIPE)}
    for side in sides.values():
        _piece(side, 3)
    busy, start = Busy(), time.perf_counter()
    took: dict[str, list[float]] = {name: [] for name in sides}
    for at in range(rounds):
        for name in sorted(sides, reverse=bool(at % 2)):
            took[name].append(_piece(sides[name], steps))
    share = busy.share(time.perf_counter() - start)
    images = steps * RECIPE.batch_size
    ratios = [theirs / ours for theirs, ours in zip(took["timm"], took["ours"], strict=True)]
    speed = {f"{name}_images_per_s": spread([images / s for s in seconds]) for name, seconds in took.items()}
    emit({"case": "training", "model": spec.name, **speed, "ratio": spread(ratios), "rounds": rounds, "busy": share})
    need = images / statistics.median(took["ours"])
    for name, inputs in {"ours": _our_batches(data.train, RECIPE), "timm": _loader(data.train, RECIPE)}.items():
        alone = [RECIPE.batch_size * 20 / _piece(inputs, 20) for _ in range(3)]
        emit({"case": "pipeline", "side": name, "images_per_s": spread(alone), "over_need": min(alone) / need})


def _accuracy(spec: ModelSpec, train: Images, val: Images, recipe: Recipe) -> None:
    """Both trained to the end of the recipe from one seed."""
    images = split(train, recipe)[0]
    for name, side in {"ours": _ours, "timm": _timms}.items():
        made: list[nn.Module] = []
        for _ in islice(side(spec, images, recipe, made), recipe.epochs * steps_per_epoch(images, recipe)):
            pass
        found = score(made[0], val)
        emit({"case": "accuracy", "side": name, "seed": recipe.seed, "top1": found.hits1 / found.images})


def _piece(side: Iterator[Any], steps: int) -> float:
    """Seconds of so many steps."""
    start = time.perf_counter()
    for _ in range(steps):
        next(side)
    return time.perf_counter() - start


def _our_batches(images: Images, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 1
    while True:
        yield from batches(images, recipe, epoch, CPU)
        epoch += 1


def _ours(spec: ModelSpec, images: Images, recipe: Recipe, made: list[nn.Module] | None = None) -> Iterator[None]:
    """A step of our loop per `next`: what `train` does between two checkpoints."""
    torch.manual_seed(recipe.seed)
    module = build(spec).train()
    module.load_state_dict(checkpoint_filter_fn(_timm_model(recipe.seed, spec).state_dict()))
    (made if made is not None else []).append(module)
    optimizer, objective = make_optimizer(module, recipe), Classification(recipe)
    steps, linear_maps = steps_per_epoch(images, recipe), fast_linear_maps(CPU, recipe.amp_dtype)
    for step, (pixels, targets) in enumerate(_our_batches(images, recipe)):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(recipe, min(step, recipe.epochs * steps - 1), steps)
        optimizer.zero_grad()
        with linear_maps:
            total, shown = objective(Step(module, module, pixels, targets))
            total.backward()
        nn.utils.clip_grad_norm_(module.parameters(), float("inf"))
        shown.item()
        optimizer.step()
        yield


def _timm_model(seed: int, spec: ModelSpec) -> nn.Module:
    torch.manual_seed(seed)
    options = {"img_size": spec.image_px, "patch_size": spec.patch_px, "num_classes": spec.num_classes}
    return timm.create_model("vit_tiny_patch16_224", **options)


class _Readable(torch.utils.data.Dataset):
    """Pictures as timm's data sets give them: Pillow's, changed by the transform that the loader sets."""

    def __init__(self, images: Images) -> None:
        self.images, self.transform = images, None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[Any, int]:
        picture = self.images.pictures(at)[0]
        return (picture if self.transform is None else self.transform(picture)), int(self.images.labels[at])


def _loader(images: Images, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """timm's loader, epoch after epoch."""
    loader = create_loader(
        _Readable(images),
        input_size=(images.in_chans, images.image_px, images.image_px),
        batch_size=recipe.batch_size,
        is_training=True,
        use_prefetcher=False,
        scale=(0.8, 1.0) if recipe.crop_padding else (1.0, 1.0),
        ratio=(3 / 4, 4 / 3) if recipe.crop_padding else (1.0, 1.0),
        hflip=0.5,
        color_jitter=None,
        interpolation="bilinear",
        mean=images.mean,
        std=images.std,
        num_workers=num_threads(),
        persistent_workers=True,
    )
    while True:
        yield from loader


def _timms(spec: ModelSpec, images: Images, recipe: Recipe, made: list[nn.Module] | None = None) -> Iterator[None]:
    """A step of timm's loop per `next`."""
    module = _timm_model(recipe.seed, spec).train()
    (made if made is not None else []).append(module)
    optimizer = create_optimizer_v2(module, "adamw", lr=recipe.lr, weight_decay=recipe.weight_decay, betas=recipe.betas)
    loss_of = LabelSmoothingCrossEntropy(recipe.label_smoothing)
    steps = steps_per_epoch(images, recipe)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=recipe.epochs * steps,
        lr_min=recipe.min_lr,
        warmup_t=round(recipe.warmup_epochs * steps),
        warmup_lr_init=1e-6,
        t_in_epochs=False,
    )
    for step, (pixels, labels) in enumerate(_loader(images, recipe)):
        loss = loss_of(module(pixels), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        schedule.step_update(step + 1)
        yield


if __name__ == "__main__":
    script(main)
