"""A ViT scaled for three targets on CIFAR-10, beside unscaled ones of equal cost, and each run on the others' targets.

    python benchmarks/scale_cifar10.py --data torch/cifar10 --out results/scale_cifar10.jsonl
    python benchmarks/scale_cifar10.py --data torch/cifar10 --targets macs openvino --out results/openvino.jsonl
    python benchmarks/scale_cifar10.py --data digits --out /tmp/quick.jsonl --quick

What it does, each of it gone on with after a stop:

1. `paretovit scale` from a small ViT for each of `--targets`, four doublings each, by successive halving on a recipe of
   minutes. A target is a count, such as macs, or a runtime, and then latency on it. Each path is kept beside `--out`,
   and drawn.
2. For every step of every path, the start with nothing but its width grown to the cost of the step's model: the ViT as
   it is scaled by hand (DeiT's tiny, small and base differ so).
3. Both trained by the whole recipe from three seeds; what the search chose by is held out of training.
4. Latencies of all these models on these runtimes, side by side: the transfer matrix, a model scaled for A run on B
   (the paper's tables 5 and 12), is a table of these rows.

`paretovit reproduce hardware-aware-vit-scaling --results FILE --markdown` says of the rows what the paper claims.

"An Investigation on Hardware-Aware Vision Transformer Scaling" (anonymous, 2021), sec. 4.1 and 4.2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from script import script

from paretovit.analysis.scaled import SEARCH, WIDTH, scaled_row
from paretovit.cost.count import count
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.measure import Care, measure
from paretovit.devices import num_threads
from paretovit.measurement import Measurement
from paretovit.optimize.halving import Asked
from paretovit.optimize.scale import PATH, Plan, scale
from paretovit.optimize.scale_cost import CARE, Cost
from paretovit.optimize.scale_factors import Grown, grown
from paretovit.optimize.scale_train import Trainings
from paretovit.report.figures.scaling_path import draw_path
from paretovit.report.progress import MeasureProgress
from paretovit.report.save import save_chart
from paretovit.spec import ModelSpec, Stage, from_json, to_json
from paretovit.store import Store
from paretovit.training.recipe import Recipe, named_recipe, with_changes
from paretovit.zoo.checkpoint import SPEC, write_whole
from paretovit.zoo.factors import factors_of

TARGETS = ("macs", "onnxruntime", "litert")
# so small that its fourth doubling is trained in minutes
START = ModelSpec(
    name="vit_2x64_patch8_32", stages=(Stage(depth=2, dim=64, heads=2),), image_px=32, patch_px=8, num_classes=10
)
# Nearly as much is held out as is trained on, for to judge by it takes little time. At the demo's rate of learning,
# 3e-3, models are the worse the wider.
RECIPE = (
    *("train_images=11000", "held_out=0.45", "epochs=6", "warmup_epochs=0.5", "batch_size=64", "amp_dtype=bfloat16"),
    *("hflip=true", "crop_padding=2", "weight_decay=0.1", "lr=1e-3"),
)
PATIENT = replace(CARE, patience_s=60)


def begin(folder: Path) -> str:
    """The start as a model that `scale` takes by name: a folder with its spec."""
    write_whole(folder / SPEC, json.dumps(to_json(START)).encode())
    return str(folder)


@dataclass(frozen=True)
class Pair:
    """What a step of a search came to, and the unscaled model of its cost; None where its width alone does not reach
    it."""

    target: str
    step: int
    scaled: Grown
    wider: Grown | None

    @property
    def models(self) -> Iterator[tuple[str, Grown]]:
        yield SEARCH, self.scaled
        if self.wider is not None:
            yield WIDTH, self.wider

    @property
    def rows(self) -> Iterator[Measurement]:
        for by, made in self.models:
            yield scaled_row(made.spec, target=self.target, step=self.step, by=by, ratio=made.ratio)


def searched(target: str, options: argparse.Namespace, recipe: Recipe, plan: Plan, store: Store) -> list[Pair]:
    """The path for one target, and what stands beside each of its steps."""
    indicator, runtime = ("latency_s", target) if target in RUNTIMES.names() else (target, "torch_eager")
    out = options.runs / target
    scale(
        options.start,
        options.data,
        recipe,
        plan,
        cost=indicator,
        runtime=runtime,
        threads=options.threads,
        out=out,
        store=store,
        jobs=options.jobs,
        tell=lambda text: print(f"{target}: {text}", file=sys.stderr, flush=True),
        measuring=MeasureProgress,
    )
    kept_at = options.out.with_name(f"{options.out.stem}_{target}")
    write_whole(kept_at.with_suffix(".json"), (out / PATH).read_bytes())
    path = json.loads((out / PATH).read_text(encoding="utf-8"))
    save_chart(draw_path(path), kept_at.with_suffix(".svg"))
    start = from_json(path["search"]["start"])
    cost = Cost(indicator, start, store, runtime=runtime, threads=options.threads, progress=MeasureProgress)
    pairs = [Pair(cost.where, 0, Grown("start", start, 1.0), None)]
    for number, step in enumerate(path["steps"][1:], start=1):
        kept = next(one for one in step["candidates"] if one["key"] == step["kept"])
        scaled = Grown(kept["factor"], from_json(kept["spec"]), kept["ratio"])
        unscaled = wider(cost, scaled.ratio)
        near = not unscaled.why and abs(unscaled.ratio / scaled.ratio - 1) <= 2 * plan.tolerance
        pairs.append(Pair(cost.where, number, scaled, unscaled if near else None))
    return pairs


def wider(cost: Cost, ratio: float) -> Grown:
    """The start with nothing but its width grown, to so many times its cost."""
    return grown(Grown("start", cost.start, 1.0), "heads", ratio, cost.ratio, cost.foretold)


def trained(specs: Sequence[ModelSpec], options: argparse.Namespace, recipe: Recipe, store: Store) -> None:
    """All of them by the recipe, from every seed; what the searches trained has been."""
    for seed in options.seeds:
        seeded = replace(recipe, seed=seed)
        runs = options.runs / f"seed{seed}"
        left = [spec for spec in specs if not store.rows("train_time_s", spec=spec.key, recipe=recipe.label, seed=seed)]
        with Trainings(data=options.data, recipe=seeded, runs=runs, jobs=options.jobs) as many:
            for (spec, _), outcome in many(deque(map(Asked, left))):
                if isinstance(outcome, list):
                    store.append([row for row in outcome if not store.has(row.conditions, row.indicator)], [spec])
                print(f"seed {seed}: {spec.name}: {_said(outcome)}", file=sys.stderr, flush=True)


def _said(outcome: object) -> str:
    if not isinstance(outcome, list):
        return str(outcome)
    return f"{next(row.value for row in reversed(outcome) if row.indicator == 'top1'):.1%}"


def told(pairs: Sequence[Pair], runtimes: Sequence[str], recipe: Recipe, store: Store) -> None:
    """A line for every model: where its accuracy lies over the seeds, and what it costs on every target."""
    times = " ".join(f"{runtime + ' ms':>15}" for runtime in runtimes)
    print(f"{'':38} {'model':30} {'top-1 % (seeds)':>16} {'Mmacs':>8} {times}")
    for pair in pairs:
        for by, made in pair.models:
            spec = made.spec
            rows = [row for row in store.rows("top1", spec=spec.key, recipe=recipe.label) if row.value is not None]
            # the split that nothing was chosen by, where there is one
            final = [row for row in rows if "held" not in (row.conditions.split or "")] or rows
            top1 = [100 * row.value for row in final if row.value is not None]
            spread = f"{np.mean(top1):.1f} ± {np.ptp(top1) / 2:.1f} ({len(top1)})" if top1 else "–"
            costs = [_value(store.rows("latency_s", spec=spec.key, runtime=runtime)) for runtime in runtimes]
            macs = _value(store.rows("macs", spec=spec.key))
            cells = " ".join(f"{1000 * t:15.3f}" for t in costs)
            name = f"{pair.target}, step {pair.step}{', wider' if by == WIDTH else ''}"
            print(f"{name:38} {factors_of(spec)!s:30} {spread:>16} {macs / 1e6:8.1f} {cells}")


def _value(rows: Sequence[Measurement]) -> float:
    return next((row.value for row in reversed(rows) if row.value is not None), float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--start", help="another model to scale from")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--set", action="append", default=[], help="field=value of the recipe, after this script's own")
    parser.add_argument("--targets", nargs="+", default=TARGETS, help=f"counts, or of {', '.join(RUNTIMES.names())}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=0.15)
    parser.add_argument("--predict", type=int, default=24, help="as of `paretovit scale`")
    parser.add_argument("--threads", type=int, default=1, help="that a latency is measured with")
    parser.add_argument("--jobs", type=int, default=num_threads())
    parser.add_argument("--runs", type=Path, default=Path("runs/scale_cifar10"))
    parser.add_argument("--out", type=Path, required=True, help="JSON lines of all rows")
    parser.add_argument("--quick", action="store_true", help="one step, one seed, two epochs: to see that it works")
    options = parser.parse_args()
    changes = [*RECIPE, *options.set]
    if options.quick:
        options.steps, options.seeds, options.start = 1, [0], "vit_pico_patch4_8"
        changes = ["epochs=2", "warmup_epochs=0", "train_images=200", "held_out=0.1", *options.set]
    care = Care(rounds=3, sittings=1, patience_s=1) if options.quick else PATIENT
    recipe = with_changes(named_recipe(options.recipe), changes)
    plan = Plan(steps=options.steps, tolerance=options.tolerance, predict=options.predict, halving=True)
    runtimes = [target for target in options.targets if target in RUNTIMES.names()]
    if missing := [why for runtime in runtimes if (why := RUNTIMES[runtime].missing())]:
        parser.error("; ".join(missing))
    options.runs.mkdir(parents=True, exist_ok=True)
    options.start = options.start or begin(options.runs / "start")
    with (
        Store(options.runs / "rows.sqlite") as store,
        Store(options.runs / "latencies.sqlite") as timed,
        Store("sqlite://") as found,
    ):
        pairs = [pair for t in options.targets for pair in searched(t, options, recipe, plan, store)]
        specs = list({made.spec.key: made.spec for pair in pairs for _, made in pair.models}.values())
        trained(specs, options, recipe, store)
        if runtimes:
            # anew and side by side: a search measures each model when it comes to it
            with MeasureProgress() as progress:
                measure(
                    specs,
                    indicators=["latency_s"],
                    runtimes=runtimes,
                    threads=options.threads,
                    store=timed,
                    care=care,
                    progress=progress,
                )
        rows = [row for row in store.rows() if row.indicator != "latency_s"]
        rows += [*timed.rows(), *count(specs), *(row for pair in pairs for row in pair.rows)]
        found.append(rows, [*store.specs().values()])
        found.export_lines(options.out)
        told(pairs, runtimes, recipe, found)


if __name__ == "__main__":
    script(main)
