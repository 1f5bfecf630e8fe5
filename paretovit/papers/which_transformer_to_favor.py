"""Nauen, Palacio and Dengel 2023: more than thirty efficient vision transformers under one recipe.

Numbers stand three times: as printed, recomputed from the authors' own 90 runs, and as this machine gives them. The
runs are not part of this package: `paretovit import wttf-runs PATH` reads them. What is measured here is the cost of
those of the models that the zoo has in the same configuration; where a front needs an accuracy, it is the authors'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from paretovit.analysis.pareto import Mask, front
from paretovit.measurement import Measurement
from paretovit.papers import Paper
from paretovit.papers._cells import Cell, Verdict
from paretovit.papers._counted import with_printed
from paretovit.papers._rows import accuracy_cells
from paretovit.papers._survey_runs import INFER_BATCHES, Panel, Run, Vector, authors_runs, column, line, panel, pearson
from paretovit.papers._which_transformer_to_favor_tables import (
    COST_NAMES,
    COSTS,
    FIT,
    MEAN_GAIN,
    PLACES,
    TABLE_1,
    TABLE_2,
    Place,
)
from paretovit.zoo.catalog import resolve

PAPER = "which-transformer-to-favor"

_AUTHORS, _HERE = "authors' runs", "here"
_NO_RUNS = "`paretovit import wttf-runs PATH` brings the authors' runs into a store; then --store with it"
_NO_ROWS = "too few of the survey's models measured here: `paretovit measure` them, then --store or --results"
_FEWEST = 10  # models of which a correlation, a fit or a front is worth a word
_SAME_R = 0.01 + 1e-9  # of two correlations with two digits each
_SAME_TOP1 = 0.01
_SAME_FIT = 0.01  # of the printed number


class WhichTransformerToFavor(Paper):
    """Tables 1 and 2, the fit of training memory, and what is said of the Pareto fronts (figures 1, 4, 5 and 6)."""

    title = "Nauen, Palacio and Dengel 2023, Which Transformer to Favor"
    models = "*, [0-9]* px, after *"  # the authors' runs
    tables: ClassVar[dict[str, str]] = {
        "1": "top-1 on ImageNet-1k under one recipe, and its gain over the original papers",
        "2": "Pearson correlations of costs",
        "fit": "training memory in GB as a line over FLOPs in billions",
        "fronts": "whether some run of these is on the front of accuracy and a cost; printed: as the text says",
    }

    def cells(self, table: str, rows: Sequence[Measurement]) -> list[Cell]:
        runs = authors_runs(rows)
        if table == "1":
            return list(_accuracies(runs, rows))
        mine = panel(rows, runs)
        if table == "2":
            return list(_correlations(runs, mine))
        return list(_fit(runs, mine) if table == "fit" else _fronts(runs, mine))


def _accuracies(runs: Sequence[Run], rows: Sequence[Measurement]) -> Iterator[Cell]:
    gains = []
    for row in TABLE_1:
        cell = with_printed(_cell("1", row.name, row.model, "top1", "%"), row.top1)
        gain = with_printed(_cell("1", row.name, row.model, "gain", "1"), row.gain)
        original = float(row.top1) - float(row.gain)
        found = [run.top1 for run in runs if (run.model, run.image_px, run.pretrain_px) == (row.run, 224, 224)]
        yield _theirs(cell, found, note=_several(found))
        yield _theirs(gain, [top1 - original for top1 in found])
        if found:
            gains.append(_nearest(found, float(row.top1)) - original)
        if row.model:
            yield from (
                replace(made, whose=_HERE)
                for made in accuracy_cells(cell, resolve(row.model).key, rows, data="ImageNet")
            )
    mean = with_printed(_cell("1", "mean of all", "", "gain", "1"), MEAN_GAIN)
    yield _theirs(mean, [float(np.mean(gains))] if gains else [])


def _theirs(cell: Cell, values: Sequence[float], note: str = "") -> Cell:
    """The cell with the nearest of the values that the authors' runs have for it."""
    cell = replace(cell, whose=_AUTHORS)
    if not values:
        return replace(cell, note=_NO_RUNS)
    assert cell.printed is not None
    ours = _nearest(values, cell.printed)
    verdict: Verdict = "agrees" if abs(ours - cell.printed) <= _SAME_TOP1 else "differs"
    return replace(cell, ours=ours, verdict=verdict, note=note)


def _nearest(values: Sequence[float], printed: float) -> float:
    return min(values, key=lambda value: abs(value - printed))


def _several(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    return f"the nearest of {len(values)} runs: {', '.join(f'{value:.2f}' for value in values)}"


def _correlations(runs: Sequence[Run], mine: Panel) -> Iterator[Cell]:
    for at, (first, printed) in enumerate(TABLE_2.items()):
        for second, text in zip(COSTS[at + 1 :], printed, strict=True):
            cell = with_printed(_cell("2", COST_NAMES[first], "", f"r_{second}", "1"), text)
            yield _recomputed(cell, runs, first, second)
            count = _measured(mine, first, second)
            if count < _FEWEST:
                yield replace(cell, whose=_HERE, note=_NO_ROWS)
            else:
                r = pearson(mine.runs, first, second)
                note = f"{count} models: {mine.how[first]}; {mine.how[second]}"
                yield replace(cell, whose=_HERE, ours=r, verdict=_side(r, float(text)), note=note)


def _measured(mine: Panel, *costs: str) -> int:
    """How many models have all of the costs."""
    return sum(not any(math.isnan(run.cost(cost)) for cost in costs) for run in mine.runs)


def _recomputed(cell: Cell, runs: Sequence[Run], first: str, second: str) -> Cell:
    """The correlation over the authors' runs; of inference memory at batch 64, and where that is not the printed one,
    with the batch size that is."""
    cell = replace(cell, whose=_AUTHORS)
    if not runs:
        return replace(cell, note=_NO_RUNS)
    assert cell.printed is not None
    r = pearson(runs, first, second)
    if _same_r(r, cell.printed):
        return replace(cell, ours=r, verdict="agrees")
    if "infer_memory" in (first, second):
        other = second if first == "infer_memory" else first
        for batch in INFER_BATCHES:
            at = pearson(runs, other, f"infer_memory_{batch}")
            if _same_r(at, cell.printed):
                note = f"at batch 64, as the column's other numbers; the printed one is that at batch {batch}: {at:.2f}"
                return replace(cell, ours=r, verdict="explained", note=note)
    return replace(cell, ours=r, verdict="differs")


def _same_r(r: float, printed: float) -> bool:
    return abs(round(r, 2) - printed) <= _SAME_R


def _side(r: float, printed: float) -> Verdict:
    if _same_r(r, printed):
        return "agrees"
    return "lower" if r < printed else "higher"


def _fit(runs: Sequence[Run], mine: Panel) -> Iterator[Cell]:
    cells = {
        name: replace(with_printed(_cell("fit", "RAM [GB]", "", name, "GB"), text), digits=2)
        for name, text in FIT.items()
    }
    if not runs:
        yield from (replace(cell, whose=_AUTHORS, note=_NO_RUNS) for cell in cells.values())
    units = {"GB": 1e9, "GiB": 2**30}
    for unit, size in units.items() if runs else ():
        slope, intercept = line(runs, "FLOPs", "train_memory")
        for name, value in (("slope", slope * 1e9 / size), ("intercept", intercept / size)):
            cell = replace(cells[name], whose=f"{_AUTHORS}, {unit}", ours=value)
            near = abs(value - float(FIT[name])) <= _SAME_FIT * float(FIT[name])
            note = "" if near else "the print joins a slope in 10^9 bytes to an intercept in 2^30 bytes"
            yield replace(cell, verdict="agrees" if near else "explained", note=note)
    slope, intercept = line(mine.runs, "FLOPs", "train_memory")
    for name, value in (("slope", slope), ("intercept", intercept / 1e9)):
        if _measured(mine, "FLOPs", "train_memory") < _FEWEST:
            yield replace(cells[name], whose=_HERE, note=_NO_ROWS)
        else:
            note = f"{mine.how['train_memory']} over {mine.how['FLOPs']}; the survey's batch is 2,048"
            yield replace(cells[name], whose=_HERE, ours=value, verdict="elsewhere", note=note)


def _fronts(runs: Sequence[Run], mine: Panel) -> Iterator[Cell]:
    for place in PLACES:
        for cost, on in place.on.items():
            cell = replace(_cell("fronts", place.name, "", f"on_{cost}", "1"), printed=float(on))
            yield _placed(replace(cell, whose=_AUTHORS), place, cost, runs, _NO_RUNS)
            cell = replace(cell, whose=_HERE)
            if _measured(mine, _name(cost)) < _FEWEST:
                yield replace(cell, note=_NO_ROWS)
            else:
                note = f"{mine.how[_name(cost)]}, accuracies of the authors' runs at 224 px"
                made = _placed(cell, place, cost, mine.runs, _NO_ROWS)
                yield made if made.ours is None else replace(made, note=f"{note}; {made.note}" if made.note else note)


def _name(cost: str) -> str:
    """The cost that a front is about; the text's inference memory is that of one image, as its figure 5 shows it."""
    return {"speed": "inference"}.get(cost, cost)


def _placed(cell: Cell, place: Place, cost: str, runs: Sequence[Run], absent: str) -> Cell:
    """The cell with 1 where at least one run of the place is on the front of accuracy and the cost, else 0."""
    name = f"{_name(cost)}_1" if cost == "infer_memory" and cell.whose == _AUTHORS else _name(cost)
    costs, top1 = column(runs, name), np.array([run.top1 for run in runs])
    asked = np.array([_meant(run, place) for run in runs], dtype=bool) & ~np.isnan(costs + top1) if runs else None
    if asked is None or not asked.any():
        return replace(cell, note=absent if not runs else "none of these models among the runs")
    on = front(costs, top1) & asked
    ours = float(on.any())
    if ours == cell.printed:
        return replace(cell, ours=ours, verdict="agrees")
    return replace(cell, ours=ours, verdict="explained", note=_why(runs, costs, top1, asked, on))


def _meant(run: Run, place: Place) -> bool:
    # EfficientFormerV2 and FocalNet were fine-tuned at 382 px for 384
    size = 384 if run.image_px == 382 else run.image_px
    return (not place.runs or run.model in place.runs) and place.image_px in (None, size)


def _why(runs: Sequence[Run], costs: Vector, top1: Vector, asked: Mask, on: Mask) -> str:
    """Which of those asked for is on the front, or else what keeps the best of them off it."""
    if on.any():
        return "on it: " + ", ".join(
            f"{runs[at].model} at {runs[at].image_px} px" for at in map(int, np.flatnonzero(on))
        )
    best = max(map(int, np.flatnonzero(asked)), key=lambda at: float(top1[at]))
    better = np.flatnonzero((costs <= costs[best]) & (top1 >= top1[best]))
    rival = min((int(at) for at in better if at != best), key=lambda at: float(top1[at]))
    more, less = top1[rival] - top1[best], 1 - costs[rival] / costs[best]
    return f"{runs[rival].model} at {runs[rival].image_px} px has {more:.2f} points more at {less:.1%} less"


def _cell(table: str, row: str, model: str, kind: str, unit: str) -> Cell:
    return Cell(paper=PAPER, table=table, row=row, model=model, cell=kind, unit=unit)
