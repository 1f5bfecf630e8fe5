"""A list of trainings done one after another, in pieces of so many minutes; stopped at any moment, it goes on.

Every run keeps its state under `--runs` after each epoch, its rows go to a store, and the store is written out as
JSON lines whenever a run is finished. Several processes may share the work: `--part 0/2` and `--part 1/2`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from paretovit.measurement import Measurement
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.data import Data, open_data
from paretovit.training.loop import Begin, TrainResult, train
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


class Queue:
    """The options, recipe and store of such a script, and how long it may go on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        if options.threads:
            torch.set_num_threads(options.threads)
        self.end = time.monotonic() + 60 * options.minutes
        self.watch = until(self.end)
        self.recipe = with_changes(named_recipe(options.recipe), options.set)
        options.runs.mkdir(parents=True, exist_ok=True)
        self.store = Store(str(options.store or options.runs / f"{options.out.stem}.sqlite"))

    def in_time(self, work: Iterable[Callable[[], None]]) -> int:
        """Do this process's share of the work; the number of pieces that the time did not suffice for."""
        share, of = (int(n) for n in self.options.part.split("/"))
        mine, left = list(work)[share::of], 0
        for piece in mine:
            try:
                piece()
            except KeyboardInterrupt as stop:
                if time.monotonic() <= self.end:
                    raise  # a person's Ctrl-C
                if str(stop):
                    print(stop, file=sys.stderr)
                left += 1
        print(f"{left} of {len(mine)} left", file=sys.stderr)
        return left

    def over_seeds(self, work: Callable[[Recipe], None]) -> int:
        """The same of the work for the recipe of each seed."""
        return self.in_time(partial(work, replace(self.recipe, seed=seed)) for seed in self.options.seeds)

    def train(self, spec: ModelSpec, data: Data, recipe: Recipe, out: Path, begin: Begin | None = None) -> None:
        """A training, gone on with where its folder has some of it, and its rows. None is begun when time is over."""
        if time.monotonic() > self.end:
            raise KeyboardInterrupt
        result = train(spec, data, recipe, out=out, begin=begin, device=self.options.device, progress=self.watch)
        self.keep_of(out, result, spec)

    def keep_of(self, out: Path, result: TrainResult, spec: ModelSpec) -> None:
        """What a training came to; its score is told."""
        self.keep(result.rows, [spec])
        score = [row for row in result.rows if row.indicator == result.rows[0].indicator][-1]
        said = f"{score.indicator} {score.value:.4f} on {score.conditions.data}, {score.conditions.split}"
        print(f"{out}: {said}", file=sys.stderr, flush=True)

    def keep(self, rows: Iterable[Measurement], specs: Sequence[ModelSpec]) -> None:
        """Rows that are new go to the store, and all of it to `--out`."""
        self.store.append([row for row in rows if not self.store.has(row.conditions, row.indicator)], specs)
        write(self.store, self.options.out, untimed=self.options.untimed)


def run(jobs: Sequence[Job], options: argparse.Namespace) -> int:
    """Do the jobs that are not done; the number of those that are left."""
    queue = Queue(options)
    data = open_data(options.data)

    def do(job: Job) -> None:
        recipe = replace(queue.recipe, seed=job.seed)
        spec = resolve(job.model, in_chans=data.val.in_chans, num_classes=data.val.num_classes)
        if not _is_done(queue.store, spec, recipe, data.val.name):
            queue.train(spec, data, recipe, options.runs / job.folder)

    return queue.in_time(partial(do, job) for job in jobs)


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
