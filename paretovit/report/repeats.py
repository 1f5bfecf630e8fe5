"""Runs from several seeds as one column of a table."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from paretovit.analysis.seeds import pooled
from paretovit.measurement import Measurement
from paretovit.store import Column, Table
from paretovit.training.replacing import without_hashes


@lru_cache(maxsize=4)
def over_seeds(table: Table) -> Table:
    """The table with columns that differ only in their seed as one, which states no seed; see `pooled` for its cells.

    Recipes that differ in the hashes of the weights that they begin from, as each seed has a parent of its own, are one
    recipe; but not where two such parents have one seed. The table itself where there are no such columns. A row that
    does not say its seed, an evaluation of weights from elsewhere perhaps, is no repeat: it counts for a model that has
    no other.
    """
    groups: dict[Column, list[int]] = {}
    for at, column in enumerate(table.columns):
        groups.setdefault(_pooled(column, without_hashes(column.conditions.recipe or "") or None), []).append(at)
    for column, found in list(groups.items()):
        exact: dict[Column, list[int]] = {}
        for at in found:
            exact.setdefault(_pooled(table.columns[at], table.columns[at].conditions.recipe), []).append(at)
        seeds = [table.columns[at].conditions.seed for at in found]
        if len(exact) == 1 or len(set(seeds)) < len(seeds):
            del groups[column]
            groups |= exact
    if len(groups) == len(table.columns):
        return table
    order = sorted(groups.items(), key=lambda one: one[1][0])
    return Table(
        lines=table.lines,
        columns=tuple(seedless if len(found) > 1 else table.columns[found[0]] for seedless, found in order),
        cells=tuple(tuple(_cell([line[at] for at in found]) for _, found in order) for line in table.cells),
    )


def _pooled(column: Column, recipe: str | None) -> Column:
    return replace(column, conditions=replace(column.conditions, seed=None, recipe=recipe))


def _cell(rows: list[Measurement | None]) -> Measurement | None:
    known = [row for row in rows if row is not None]
    seeded = [row for row in known if row.conditions.seed is not None]
    return pooled(seeded or known) if known else None
