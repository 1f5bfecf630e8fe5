"""Which accuracies of a sheet are of models with replaced layers, and whose children these models are."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache

from paretovit.measurement import Measurement
from paretovit.report.headings import Heading, Sheet
from paretovit.training.replacing import Tried, tried, without_hashes


@dataclass(frozen=True)
class Child:
    """A line of the sheet, the accuracy that is meant, and what its recipe says of the replaced layers."""

    at: int
    heading: Heading
    tried: Tried


@dataclass(frozen=True)
class Siblings:
    """Children of parents that were trained in one way, judged on the same images. `parent` is the line of the parents
    and their accuracy, None where the sheet has none."""

    name: str
    how: str
    children: tuple[Child, ...]
    parent: tuple[int, Heading] | None


@lru_cache(maxsize=4)
def siblings(sheet: Sheet) -> tuple[Siblings, ...]:
    """All that the sheet has, those with the most children first."""
    headings = [h for h in sheet.qualities if h.column.indicator == "top1"]
    found: dict[tuple[str, str, str | None, str | None], list[Child]] = defaultdict(list)
    for h in headings:
        about = tried(h.column.conditions.recipe)
        if about is None:
            continue
        stated = h.column.conditions
        for at in _known(sheet, h):
            found[about.parent, about.how, stated.data, stated.split].append(Child(at, h, about))
    made = []
    for (name, how, data, split), children in found.items():
        parents = [
            (at, h)
            for h in headings
            if (h.column.conditions.data, h.column.conditions.split) == (data, split)
            and without_hashes(h.column.conditions.recipe or "") == how
            for at in _known(sheet, h)
            if sheet.table.lines[at].name == name
        ]
        made.append(Siblings(name, how, tuple(children), parents[0] if parents else None))
    return tuple(sorted(made, key=lambda one: -len(one.children)))


@dataclass(frozen=True)
class Run:
    """A child of one seed: the name of its line, the row of its accuracy, and what that says of it."""

    name: str
    row: Measurement
    tried: Tried


def runs(sheet: Sheet) -> list[Run]:
    """Every accuracy of a child as it was taken, for each seed by itself."""
    found = []
    for at, column in enumerate(sheet.raw.columns):
        about = tried(column.conditions.recipe) if column.indicator == "top1" else None
        if about is not None:
            cells = ((name, line[at]) for name, line in zip(sheet.labels, sheet.raw.cells, strict=True))
            found += [Run(name, row, about) for name, row in cells if row is not None and row.value is not None]
    return found


def setting(child: Child) -> Tried:
    """All that its recipe says but for the stages: equal for children that differ in these alone."""
    return replace(child.tried, stages=(), shape="")


def _known(sheet: Sheet, heading: Heading) -> list[int]:
    return [at for at, value in enumerate(sheet.values(heading)) if math.isfinite(value)]
