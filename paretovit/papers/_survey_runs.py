"""The survey's own runs and this machine's rows, as the costs that its tables speak of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paretovit.importers.wttf_runs import BEST, SOURCE
from paretovit.measurement import Conditions, Measurement
from paretovit.papers._which_transformer_to_favor_tables import SAME_MODEL
from paretovit.zoo.catalog import entries

Vector = NDArray[np.float64]

INFER_BATCHES = (1, 32, 64, 128)


@dataclass(frozen=True)
class Run:
    """A model with its costs by their names in `COSTS`; seconds, bytes and parameters. What was not logged is NaN.

    "infer_memory" is that at batch 64, "infer_memory_1" and its like that at others; accuracies are in percent.
    """

    model: str
    image_px: int
    pretrain_px: int
    top1: float
    costs: Mapping[str, float]

    def cost(self, name: str) -> float:
        return self.costs.get(name, math.nan)


def authors_runs(rows: Sequence[Measurement]) -> list[Run]:
    """The runs among the rows, in their order; none where they were not imported."""
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.conditions.source == SOURCE:
            found.setdefault(row.model, []).append(row)
    return [_run(of) for of in found.values()]


def _run(rows: Sequence[Measurement]) -> Run:
    def value(indicator: str, **stated: object) -> float:
        for row in rows:
            if row.indicator == indicator and all(getattr(row.conditions, k) == v for k, v in stated.items()):
                return math.nan if row.value is None else row.value
        return math.nan

    facts = rows[0].origin.timing
    peaks = [row for row in rows if row.indicator == "peak_bytes_train"]
    whole = max((batch for row in peaks if isinstance(batch := row.conditions.batch_size, int)), default=None)
    costs = {
        "FLOPs": value("flops_logged"),
        "params": value("params"),
        "finetune": value("train_time_s"),
        "inference": 1 / value("images_per_s"),
        "infer_memory": value("peak_bytes_infer", batch_size=64),
        "train_memory": value("peak_bytes_train", batch_size=whole),
        **{f"infer_memory_{batch}": value("peak_bytes_infer", batch_size=batch) for batch in INFER_BATCHES},
    }
    top1 = 100 * value("top1", recipe=BEST, split="val")
    return Run(str(facts["model"]), int(facts["image_px"]), int(facts["pretrain_px"]), top1, costs)


@dataclass(frozen=True)
class Panel:
    """This machine's runs of the survey's models, and under which conditions each cost was had."""

    runs: tuple[Run, ...]
    how: Mapping[str, str]


# what this machine measures in the place of a cost of the survey, and whether it is a rate
_MEASURED = {
    "finetune": ("train_step_s", False),
    "inference": ("images_per_s", True),
    "infer_memory": ("peak_bytes_infer", False),
    "train_memory": ("peak_bytes_train", False),
}


def panel(rows: Sequence[Measurement], authors: Sequence[Run]) -> Panel:
    """The models of the survey that were measured here, with the accuracy of the authors' best run at 224 px.

    A cost is taken from those of its columns that has most of the models. FLOPs and parameters are the counted ones.
    """
    keys = {entry.spec.key: run for run, model in SAME_MODEL.items() if (entry := entries().get(model)) is not None}
    mine = [row for row in rows if row.conditions.spec in keys and row.origin.how in ("measured", "counted")]
    costs: dict[str, dict[str, float]] = {}
    how = {}
    wanted = {"FLOPs": ("macs", False), "params": ("params", False), **_MEASURED}
    for name, (indicator, rate) in wanted.items():
        of = [row for row in mine if row.indicator == indicator and row.value]
        if not of:
            continue
        column, _ = Counter(row.conditions.column() for row in of).most_common(1)[0]
        how[name] = _told(indicator, column)
        for row in of:
            if row.conditions.column() == column and row.value:
                costs.setdefault(keys[row.conditions.spec], {})[name] = 1 / row.value if rate else row.value
    best: dict[str, float] = {}
    for run in authors:
        if run.image_px == 224:
            best[run.model] = max(best.get(run.model, 0.0), run.top1)
    runs = (Run(model, 224, 224, best.get(model, math.nan), of) for model, of in costs.items())
    return Panel(tuple(runs), how)


def _told(indicator: str, column: Conditions) -> str:
    stated = replace(column, source=None)
    words = [str(word) for word in (stated.device, stated.runtime, stated.dtype) if word]
    words += [f"batch {stated.batch_size}"] if stated.batch_size else []
    return f"{indicator} ({', '.join(words)})" if words else indicator


def column(runs: Sequence[Run], cost: str) -> Vector:
    """A cost of every run."""
    return np.array([run.cost(cost) for run in runs])


def pearson(runs: Sequence[Run], first: str, second: str) -> float:
    """Pearson's r of two costs over the runs that have both; NaN where fewer than three have."""
    a, b = column(runs, first), column(runs, second)
    both = ~np.isnan(a) & ~np.isnan(b)
    return float(np.corrcoef(a[both], b[both])[0, 1]) if both.sum() >= 3 else math.nan


def line(runs: Sequence[Run], first: str, second: str) -> tuple[float, float]:
    """Slope and intercept of the least-squares line of the second cost over the first; NaN under three runs."""
    a, b = column(runs, first), column(runs, second)
    both = ~np.isnan(a) & ~np.isnan(b)
    if both.sum() < 3:
        return math.nan, math.nan
    slope, intercept = np.polyfit(a[both], b[both], 1)
    return float(slope), float(intercept)
