"""Runs from several seeds as one column of a table."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from paretovit.analysis.seeds import pooled
from paretovit.measurement import Measurement
from paretovit.store import Column, Table


@lru_cache(maxsize=4)
def over_seeds(table: Table) -> Table:
    """The table with columns that differ only in their seed as one, which states no seed; see `pooled` for its cells.

    The table itself where there are no such columns. A row that does not say its seed, an evaluation of weights from
    elsewhere perhaps, is no repeat: it counts for a model that has no other.
    """
    groups: dict[Column, list[int]] = {}
    for at, column in enumerate(table.columns):
        groups.setdefault(replace(column, conditions=replace(column.conditions, seed=None)), []).append(at)
    if len(groups) == len(table.columns):
        return table
    return Table(
        lines=table.lines,
        columns=tuple(seedless if len(found) > 1 else table.columns[found[0]] for seedless, found in groups.items()),
        cells=tuple(tuple(_cell([line[at] for at in found]) for found in groups.values()) for line in table.cells),
    )


def _cell(rows: list[Measurement | None]) -> Measurement | None:
    known = [row for row in rows if row is not None]
    seeded = [row for row in known if row.conditions.seed is not None]
    return pooled(seeded or known) if known else None
