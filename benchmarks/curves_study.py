"""How soon a training tells which model will be the best: rules tried on real learning curves.

    python benchmarks/curves_study.py --curves curves.csv --out results/curves_study.jsonl

The curves are those of the survey's 90 runs (Nauen et al. 2023, "Which Transformer to Favor"; `curves.csv` with the
columns model, img_size, pretrain_img_size, phase, epoch, val_top1), every epoch of fine-tuning on ImageNet. A run is
one stretch of epochs 1, 2, ...; some models have several.

Rules foretell the last accuracy from the epochs so far: `last` is that of the latest epoch, `best` that of the best,
`line` goes on at the slope of the last quarter of what was seen, half as steep for each as much again, `power` is a
power law a - b t^-c (Domhan et al. 2015), `ridge` learns from the other runs, one model left out, what the accuracies
seen so far come to. Rows:

    kendall        rank agreement of the foretold with the last accuracies, after a share of the epochs
    halving_best   how often successive halving of N runs keeps the one that is best at the end; they are drawn from
                   all, or from 2 N that are next to each other in the last accuracy ("close"), as the candidates of a
                   step of a search are
    halving_loss   accuracy that the one kept falls short of the best, on average
    halving_spent  epochs spent, as a share of those of training all N to the end

"Ties", 0.1% of the last accuracy and less, are what a share of 50,000 images does not tell apart: they count as best.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from script import script

from paretovit.analysis.correlate import bootstrap, coefficient
from paretovit.devices import origin
from paretovit.measurement import Conditions, Measurement
from paretovit.store import Store

SOURCE = "Nauen et al. 2023, their runs"
SHARES = (0.04, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
POOLS = (6, 25)  # candidates of a step, and of a refinement
# shares of the epochs after which the worse half goes
SCHEDULES = {"1/2": (0.5,), "1/4, 1/2": (0.25, 0.5), "1/8, 1/4, 1/2": (0.125, 0.25, 0.5), "1/10, 1/5": (0.1, 0.2)}
DRAWS = 4000
TIE = 0.001

Curve = list[float]
Rule = Callable[[Curve, int], float]


def read(path: Path) -> list[tuple[str, Curve]]:
    """Name and accuracies by epoch of each run of full length."""
    runs: list[tuple[str, Curve]] = []
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["phase"] != "finetune":
                continue
            if line["epoch"] == "1":
                runs.append((f"{line['model']}, {line['img_size']} px, after {line['pretrain_img_size']} px", []))
            runs[-1][1].append(float(line["val_top1"] or "nan"))
    length = max(len(curve) for _, curve in runs)
    return [(name, curve) for name, curve in runs if len(curve) == length and all(map(math.isfinite, curve))]


def last(seen: Curve, epochs: int) -> float:
    return seen[-1]


def best(seen: Curve, epochs: int) -> float:
    return max(seen)


def line(seen: Curve, epochs: int) -> float:
    back = max(1, len(seen) // 4)
    if len(seen) <= back:
        return seen[-1]
    slope, ahead = (seen[-1] - seen[-1 - back]) / back, epochs - len(seen)
    # half the slope for each stretch as long as what was seen: the sum of a geometric row
    stretch = len(seen)
    return seen[-1] + slope * stretch * (1 - 0.5 ** (ahead / stretch)) / math.log(2)


def power(seen: Curve, epochs: int) -> float:
    """Least squares over the last three quarters of what was seen: a and b not below 0, c from a grid."""
    start = len(seen) // 4
    if len(seen) - start < 3:
        return seen[-1]
    t, y = np.arange(start + 1, len(seen) + 1, dtype=float), np.array(seen[start:])
    fits = []
    for c in (0.25, 0.5, 1.0, 2.0):
        # 1 - y = (1 - a) + b t^-c
        (rest, b), error = nnls(np.stack([np.ones_like(t), t**-c], axis=1), 1 - y)
        fits.append((error, 1 - rest - b * float(epochs) ** -c))
    return float(min(fits)[1])


RULES: dict[str, Rule] = {"last": last, "best": best, "line": line, "power": power}


def ridge(curves: Sequence[tuple[str, Curve]], epochs: int, strength: float = 1e-3) -> list[float]:
    """The last accuracies, each from a linear map of five values seen, fitted on the runs of other models."""
    at = sorted({max(0, math.ceil(epochs * share) - 1) for share in (0.2, 0.4, 0.6, 0.8, 1.0)})
    x = np.array([[curve[place] for place in at] for _, curve in curves])
    y = np.array([curve[-1] for _, curve in curves])
    models = [name.split(",")[0] for name, _ in curves]
    foretold = []
    for index, model in enumerate(models):
        others = [other for other, name in enumerate(models) if name != model]
        center, goal = x[others].mean(axis=0), y[others].mean()
        seen = x[others] - center
        weights = np.linalg.solve(seen.T @ seen + strength * np.eye(len(at)), seen.T @ (y[others] - goal))
        foretold.append(float(goal + (x[index] - center) @ weights))
    return foretold


def halved(curves: Sequence[Curve], schedule: Sequence[float]) -> tuple[int, float]:
    """Which run is kept, and the share of all epochs that were spent."""
    left, epochs, spent, before = list(range(len(curves))), len(curves[0]), 0, 0
    for share in schedule:
        if len(left) < 3:
            break
        at = max(1, round(share * epochs))
        spent, before = spent + len(left) * (at - before), at
        left = sorted(left, key=lambda run: -curves[run][at - 1])[: math.ceil(len(left) / 2)]
    spent += len(left) * (epochs - before)
    return max(left, key=lambda run: curves[run][-1]), spent / (epochs * len(curves))


def row(model: str, indicator: str, value: float, facts: dict[str, Any], **assumed: Any) -> Measurement:
    conditions = Conditions(source=SOURCE, assumptions=tuple(assumed.items()))
    made = origin("derived", **facts)
    return Measurement(model=model, indicator=indicator, unit="1", value=value, conditions=conditions, origin=made)


def study(curves: Sequence[tuple[str, Curve]]) -> list[Measurement]:
    """All rows."""
    epochs, ends = len(curves[0][1]), [curve[-1] for _, curve in curves]
    rows = []
    for share in SHARES:
        spent = max(1, round(share * epochs))
        foretold = {name: [rule(curve[:spent], epochs) for _, curve in curves] for name, rule in RULES.items()}
        foretold["ridge"] = ridge(curves, spent)
        for name, values in foretold.items():
            tau = coefficient(np.array(values), np.array(ends), "kendall")
            facts = {
                "runs": len(curves),
                "interval_95": list(bootstrap(values, ends, "kendall", draws=500)),
                "median_error": float(np.median(np.abs(np.array(values) - ends))),
            }
            rows.append(row(f"rule {name}", "kendall", tau, facts, share_of_epochs=spent / epochs))
    ranked = sorted(range(len(curves)), key=lambda run: ends[run])
    for pool, close in itertools.product(POOLS, (False, True)):
        chance = random.Random(0)
        drawn = []
        for _ in range(DRAWS):
            at = chance.randrange(len(ranked) - 2 * pool + 1)
            drawn.append(chance.sample(ranked[at : at + 2 * pool] if close else ranked, pool))
        for words, schedule in SCHEDULES.items():
            kept, losses, spent_share = 0, [], 0.0
            for chosen in drawn:
                own = [curves[run][1] for run in chosen]
                which, spent_share = halved(own, schedule)
                losses.append(max(curve[-1] for curve in own) - own[which][-1])
                kept += losses[-1] <= TIE
            facts = {"draws": DRAWS, "runs": len(curves)}
            assumed = {"pool": pool, "drawn_from": "close" if close else "all", "halved_after": words}
            rows.append(row("successive halving", "halving_best", kept / DRAWS, facts, **assumed))
            rows.append(row("successive halving", "halving_loss", float(np.mean(losses)), facts, **assumed))
            rows.append(row("successive halving", "halving_spent", spent_share, facts, **assumed))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = study(read(options.curves))
    with Store("sqlite://") as store:
        store.append(rows)
        store.export_lines(options.out)
    for one in rows:
        print(one.model, dict(one.conditions.assumptions), one.indicator, f"{one.value:.4g}")


if __name__ == "__main__":
    script(main)
