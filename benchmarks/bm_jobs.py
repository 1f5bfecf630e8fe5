"""What two workers bring to a search: seconds of the same one with a training at a time, and with two at once.

    python benchmarks/bm_jobs.py --data torch/cifar10 > results/bm_jobs.jsonl

Steps of `paretovit scale` by successive halving, its cost multiply-accumulates, so that nothing is measured and nearly
all of the time is training. A training has one thread, however many run at once. The efficiency is the seconds of one
worker over the seconds of two workers together; the sides come in turn, and both must find the same path. Nothing else
should run: who else kept the machine busy cannot be told from the workers themselves.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paired import emit, environment, spread
from scale_cifar10 import RECIPE, START, begin
from script import script

from paretovit.optimize.scale import Plan, scale
from paretovit.store import Store
from paretovit.training.recipe import Recipe, named_recipe, with_changes

WORKERS = 2


def searched(data: str, recipe: Recipe, steps: int, jobs: int) -> tuple[float, list[Any]]:
    """Seconds of a search from its first training to its last, and the path it took."""
    plan = Plan(steps=steps, tolerance=0.15, halving=True)
    with tempfile.TemporaryDirectory() as folder, Store("sqlite://") as store:
        start = time.perf_counter()
        model, out = begin(Path(folder, "start")), Path(folder, "search")
        path = scale(model, data, recipe, plan, cost="macs", out=out, store=store, jobs=jobs)
        return time.perf_counter() - start, [step.to_json() for step in path.steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    recipe = with_changes(named_recipe("demo"), RECIPE)
    environment(" ".join(["python", "benchmarks/bm_jobs.py", *sys.argv[1:]]))
    took: dict[int, list[float]] = {1: [], WORKERS: []}
    paths: list[list[Any]] = []
    for _ in range(options.rounds):
        for jobs, seconds in took.items():
            spent, path = searched(options.data, recipe, options.steps, jobs)
            seconds.append(spent)
            paths.append(path)
    if any(path != paths[0] for path in paths):
        raise SystemExit("the path depends on the number of workers")
    efficiency = [one / (WORKERS * many) for one, many in zip(took[1], took[WORKERS], strict=True)]
    emit(
        {
            "start": START.name,
            "steps": options.steps,
            "recipe": list(RECIPE),
            "seconds_by_workers": {str(jobs): spread(seconds) for jobs, seconds in took.items()},
            "efficiency": spread(efficiency),
            "rounds": options.rounds,
        }
    )


if __name__ == "__main__":
    script(main)
