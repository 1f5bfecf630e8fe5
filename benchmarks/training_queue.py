"""A list of trainings done one after another, in pieces of so many minutes; stopped at any moment, it goes on.

Every run keeps its state under `--runs` after each epoch, its rows go to a store, and the store is written out as
JSON lines whenever a run is finished. Several processes may share the work: `--part 0/2` and `--part 1/2`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.data import open_data
from paretovit.training.loop import train
from paretovit.training.progress import Tick, Watch
from paretovit.training.recipe import Recipe, named_recipe, with_changes
from paretovit.zoo.catalog import resolve


@dataclass(frozen=True)
class Job:
    """A model trained from one seed."""

    model: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.model}-seed{self.seed}"


def arguments(doc: str, *, recipe: str, changes: Sequence[str], minutes: float, device: str) -> argparse.ArgumentParser:
    """What every queue can be told; the defaults are its own."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as for `paretovit train`: torch/cifar10, hfds/PATH, ...")
    parser.add_argument("--recipe", default=recipe)
    parser.add_argument("--set", action="append", default=list(changes), help="field=value of the recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default=device)
    parser.add_argument("--minutes", type=float, default=minutes, help="stop after so many; the next call goes on")
    parser.add_argument("--threads", type=int, default=None, help="per operator; all cores by default")
    parser.add_argument("--part", default="0/1", help="which of how many shares of the list: 0/2, 1/2")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--store", type=Path, default=None, help="runs/NAME.sqlite by default")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines of all finished runs")
    parser.add_argument(
        "--untimed", action="store_true", help="write no times out: others use the machine, and accuracies do not mind"
    )
    return parser


def run(jobs: Sequence[Job], options: argparse.Namespace) -> int:
    """Do the jobs that are not done; the number of those that are left."""
    if options.threads:
        torch.set_num_threads(options.threads)
    end = time.monotonic() + 60 * options.minutes
    share, of = (int(n) for n in options.part.split("/"))
    recipe = with_changes(named_recipe(options.recipe), options.set)
    options.runs.mkdir(parents=True, exist_ok=True)
    store = Store(str(options.store or options.runs / f"{options.out.stem}.sqlite"))
    data = open_data(options.data)
    left = 0
    for job in jobs[share::of]:
        seeded = replace(recipe, seed=job.seed)
        spec = resolve(job.model, in_chans=data.val.in_chans, num_classes=data.val.num_classes)
        if _is_done(store, spec, seeded, data.val.name):
            continue
        try:
            if time.monotonic() > end:
                raise KeyboardInterrupt
            result = train(
                spec, data, seeded, out=options.runs / job.folder, device=options.device, progress=until(end)
            )
        except KeyboardInterrupt as stop:
            if time.monotonic() <= end:
                raise  # a person's Ctrl-C
            print(f"{job.folder}: {str(stop) or 'not begun'}", file=sys.stderr)
            left += 1
            continue
        store.append([row for row in result.rows if not store.has(row.conditions, row.indicator)], [spec])
        write(store, options.out, untimed=options.untimed)
        top1 = next(row for row in reversed(result.rows) if row.indicator == "top1")
        print(f"{job.folder}: top-1 {top1.value:.4f} on {top1.conditions.split}", file=sys.stderr, flush=True)
    print(f"{left} of {len(jobs[share::of])} left", file=sys.stderr)
    return left


def write(store: Store, out: Path, *, untimed: bool) -> None:
    """The rows of a store as JSON lines, without times where they are worth nothing."""
    if not untimed:
        store.export_lines(out)
        return
    kept = [_untimed(row) for row in store.rows() if row.unit != "s"]
    with Store("sqlite://") as held:
        held.append(kept, store.specs().values())
        held.export_lines(out)


def _untimed(row: Measurement) -> Measurement:
    facts = {k: v for k, v in row.origin.timing.items() if k != "images_per_s"}
    if "spent" in facts:
        facts["spent"] = {k: v for k, v in facts["spent"].items() if not k.endswith("_s")}
    return replace(row, origin=replace(row.origin, timing=facts))


def _is_done(store: Store, spec: ModelSpec, recipe: Recipe, data: str) -> bool:
    return bool(store.rows("train_time_s", spec=spec.key, recipe=recipe.label, seed=recipe.seed, data=data))


def until(end: float) -> Watch:
    """Stops a training as Ctrl-C does when the time, `time.monotonic()`, is over."""

    def watch(tick: Tick) -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt

    return watch
