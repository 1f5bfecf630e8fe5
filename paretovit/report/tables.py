"""Tables for the terminal: within 100 columns, units in the headers, numbers of three or four digits."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from paretovit.measurement import Measurement
from paretovit.report.headings import Heading, Sheet, described, sheet_of
from paretovit.store import arrange

_WIDTH = 100
_HEAD = 14  # characters of a header's line
_GAP = 2  # between columns


def table(rows: Iterable[Sequence[str]], columns: Sequence[str], title: str = "") -> RichTable:
    """A table of cells that are text already; the first column is words, the others are numbers."""
    made = RichTable(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for at, column in enumerate(columns):
        made.add_column(Text(column), justify="left" if at == 0 else "right", vertical="bottom", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def rows_table(rows: Sequence[Measurement]) -> Group:
    """A line per model and a column per indicator, in as many tables as keep each within 100 columns.

    A value has its interval as ± where it can be had, "!" where it was taken while others used the machine, and
    is "–" where it could not be had; what the marks mean, and on what, is said below the tables.
    """
    sheet = sheet_of(arrange(rows))
    cells = {h.key: [_cell(sheet, h, at) for at in range(len(sheet.labels))] for h in sheet.headings}
    tables = [
        table(
            [[label, *(cells[h.key][at] for h in headings)] for at, label in enumerate(sheet.labels)],
            ["model", *(_head(h) for h in headings)],
        )
        for headings in _fitting(sheet, cells)
    ]
    return Group(*tables, *(Text(note) for note in _notes(sheet)))


def _cell(sheet: Sheet, heading: Heading, at: int) -> str:
    row = sheet.rows(heading)[at]
    if row is None:
        return ""
    if row.value is None:
        return "–"
    text = heading.scale.around(row.value, *sheet.intervals(heading)[at])
    return f"{text} !" if row.origin.timing.get("contended") else text


def _head(heading: Heading) -> str:
    return "\n".join([*textwrap.wrap(heading.title, _HEAD, break_long_words=False), heading.scale.unit])


def _fitting(sheet: Sheet, cells: dict[str, list[str]]) -> Iterator[list[Heading]]:
    """The headings in groups, each as wide as fits beside the models' names."""
    names = _GAP + max(map(len, sheet.labels), default=0)
    group: list[Heading] = []
    width = names
    for h in sheet.headings:
        wide = _GAP + max(len(line) for line in [*_head(h).split("\n"), *cells[h.key]])
        if group and width + wide > _WIDTH:
            yield group
            group, width = [], names
        group.append(h)
        width += wide
    if group:
        yield group


def _notes(sheet: Sheet) -> Iterator[str]:
    rows = [(label, h, row) for h in sheet.headings for label, row in zip(sheet.labels, sheet.rows(h), strict=True)]
    known = [(label, h, row) for label, h, row in rows if row is not None]
    fields = ("device", "runtime", "dtype", "threads")
    yield from dict.fromkeys(
        f"on {where}" for _, _, row in known if (where := described(row.conditions, fields)) and row.conditions.device
    )
    if any(row.origin.timing.get("contended") for _, _, row in known):
        yield "! taken while others used the machine: claims nothing"
    for label, h, row in known:
        if row.value is None:
            yield f"– {label}, {h.title}: {row.why}"
