"""What rows of a store, or of a committed file of results, say about a paper's cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy import stats

from paretovit.measurement import Measurement
from paretovit.papers._cells import Cell, Verdict
from paretovit.store import Store

# Two readings of one training's peak differ by this much: the paper does not say whether its GB are 10^9 or 2^30
# bytes, nor whether CUDA's own memory and what the allocator holds in reserve are among them.
_SAME_MEMORY = 0.1

_HOW = {"measured": 0, "predicted": 1}


def stored_rows(store: str, results: Iterable[str | Path] = (), *, default: str = "") -> list[Measurement]:
    """The rows of a store and of files that `store export` wrote; only the `default` store need not be there yet.

    Raises `UserError` for what cannot be read.
    """
    rows: list[Measurement] = []
    if store != default or "://" in store or Path(store).exists():
        with Store(store, create=False) as opened:
            rows += opened.rows()
    for path in results:
        with Store("sqlite://") as held:  # in memory
            held.import_lines(path)
            rows += held.rows()
    return rows


def memory_cells(cell: Cell, ways: Mapping[str, str], rows: Sequence[Measurement], *, batch_size: int) -> list[Cell]:
    """The cell (GB) with every peak of a training step at that batch size that the rows have, measured ones first.

    `ways` are the keys of the specs that are the row's model, and what to call each; nothing if there is but one.
    """
    found = {
        (row.conditions.text, row.origin.how): row  # of equal rows in several files the last
        for row in rows
        if row.indicator == "peak_bytes_train"
        and row.conditions.spec in ways
        and row.conditions.batch_size == batch_size
        and row.origin.how in _HOW
    }
    if not found:
        how = f"paretovit measure {cell.model} -b {batch_size} --indicator peak_bytes_train"
        return [
            replace(cell, note=_also(cell.note, f"no row of training's peak memory at batch {batch_size}: `{how}`"))
        ]
    cells = []
    for row in sorted(found.values(), key=lambda row: (_HOW[row.origin.how], list(ways).index(row.conditions.spec))):
        stated = row.conditions
        words = [str(word) for word in (stated.device, stated.runtime, stated.dtype) if word]
        words += [f"{name} {value}" for name, value in stated.assumptions]
        taken = f"{', '.join(filter(None, (row.origin.how, ways[stated.spec])))}: {', '.join(words)}"
        if row.value is None:
            cells.append(replace(cell, note=_also(cell.note, f"{taken}: {row.why}")))
        else:
            ours = row.value / 1e9
            near = cell.printed is not None and abs(ours - cell.printed) <= _SAME_MEMORY * cell.printed
            verdict: Verdict = "agrees" if near else _side(ours, cell.printed)
            cells.append(replace(cell, ours=ours, verdict=verdict, note=_also(cell.note, taken)))
    return cells


@dataclass(frozen=True)
class Timed:
    """A time or a rate that a paper measured on one device.

    device     a word that the name of that device has, in rows too
    indicator  what it is with us, and whether it has to be turned upside down
    per        seconds, or the like, in one of the paper's units
    """

    device: str
    indicator: str
    per: float = 1.0
    inverse: bool = False

    def value(self, row: Measurement) -> float:
        value = row.value or math.nan
        return (1 / value if self.inverse else value) / self.per


def timed_cells(cell: Cell, timed: Timed, spec: str, rows: Sequence[Measurement]) -> list[Cell]:
    """The cell with what was measured of that spec: on the paper's device, or else on others, which are named."""
    found = {
        row.conditions.text: row
        for row in rows
        if row.indicator == timed.indicator
        and row.conditions.spec == spec
        and row.value is not None
        and row.origin.how == "measured"
    }
    if not found:
        note = f"not measured here: `paretovit measure {cell.model} --indicator {timed.indicator}`"
        return [replace(cell, note=_also(cell.note, note))]
    same = [row for row in found.values() if timed.device in _letters(row.conditions.device or "")]
    cells = []
    for row in same or found.values():
        stated, ours = row.conditions, timed.value(row)
        words = [str(word) for word in (stated.device, stated.runtime, stated.dtype) if word]
        words += [f"{stated.threads} threads"] if stated.threads else []
        verdict: Verdict = _side(ours, cell.printed) if same else "elsewhere"
        cells.append(replace(cell, ours=ours, verdict=verdict, note=_also(cell.note, f"measured: {', '.join(words)}")))
    return cells


def accuracy_cells(cell: Cell, spec: str, rows: Sequence[Measurement], *, data: str) -> list[Cell]:
    """The cell (percent) with the mean over seeds under every recipe, data and split that the rows have.

    Only rows count whose data are called as the paper's are (`torch/cifar10` for "CIFAR-10"). Agreement is the
    printed number within what another seed would give, 19 times in 20: the 95% prediction interval after Student.
    """
    groups: dict[tuple[str, str, str], dict[int | None, float]] = {}
    for row in rows:
        stated = row.conditions
        if row.indicator != cell.cell or stated.spec != spec or row.value is None or row.origin.how == "published":
            continue
        if same_data(data, stated.data):  # of several of one seed the last
            key = (stated.recipe or "unknown recipe", stated.data or "", stated.split or "")
            groups.setdefault(key, {})[stated.seed] = 100 * row.value
    if not groups:
        how = f"`paretovit train {cell.model} --data ...`, then --store or --results with its rows"
        return [replace(cell, note=_also(cell.note, f"not trained on {data} here: {how}"))]
    return [_trained(cell, *key, seeds) for key, seeds in groups.items()]


def _trained(cell: Cell, recipe: str, data: str, split: str, by_seed: dict[int | None, float]) -> Cell:
    values = list(by_seed.values())
    mean, count = statistics.mean(values), len(values)
    note = f"trained: {recipe}; {data}, {split}; {count} seed{'s' if count > 1 else ''}"
    if count == 1:
        return replace(cell, ours=mean, verdict="open", note=_also(cell.note, f"{note}, so without a spread"))
    spread = statistics.stdev(values)
    reach = stats.t.ppf(0.975, count - 1) * spread * math.sqrt(1 + 1 / count)
    near = cell.printed is not None and abs(mean - cell.printed) <= reach
    verdict: Verdict = "agrees" if near else _side(mean, cell.printed)
    return replace(cell, ours=mean, spread=spread, verdict=verdict, note=_also(cell.note, f"{note}, mean ± s.d."))


def _side(ours: float, printed: float | None) -> Verdict:
    if printed is None:
        return "open"
    return "lower" if ours < printed else "higher"


def same_data(printed: str, stated: str | None) -> bool:
    """Whether rows of those data are about what the paper calls so: `torch/cifar10` for "CIFAR-10"."""
    return _letters(printed) in _letters(stated or "")


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _also(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
