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
from paretovit.report.verdict import listed
from paretovit.store import arrange
from paretovit.zoo.catalog import Entry

_WIDTH = 100
_HEAD = 14  # characters of a header's line
_GAP = 2  # between columns


def table(rows: Iterable[Sequence[str]], columns: Sequence[str], title: str = "") -> RichTable:
    """A table of cells that are text already; the first column is words, the others are numbers."""
    made = RichTable(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for at, column in enumerate(columns):
        made.add_column(Text(column), justify="right" if at else "left", overflow="fold")
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
    parts: list[RichTable | Text] = []
    for headings in _fitting(sheet, cells):
        lines = [[label, *(cells[h.key][at] for h in headings)] for at, label in enumerate(sheet.labels)]
        parts += [table(lines, ["model", *(_head(h) for h in headings)]), Text()]
    return Group(*parts, *(Text(note) for note in _notes(sheet)))


def catalog_table(entries: Sequence[Entry]) -> RichTable:
    """The catalog: a line per model under its class, with what its paper prints for it at 224 px, and the paper."""
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    names, number = max((len(entry.name) for entry in entries), default=0), 6
    made.add_column("model", vertical="bottom", no_wrap=True)
    for name in ("params\nM", "macs\nG", "top-1\n%"):
        made.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    paper = _WIDTH - names - 3 * number - 5 * _GAP
    made.add_column("paper", vertical="bottom", overflow="ellipsis", no_wrap=True, max_width=paper)
    family = ""
    for entry in entries:
        if entry.family != family:
            if family:
                made.add_section()
            family = entry.family
            made.add_row(Text(family, style="bold"))
        printed = (entry.published.params_m, entry.published.gmacs, entry.published.top1)
        made.add_row(entry.name, *("" if value is None else f"{value:g}" for value in printed), Text(entry.paper))
    return made


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
    yield from dict.fromkeys(f"on {described(row.conditions, fields)}" for _, _, row in known if row.conditions.device)
    granted: dict[str, list[str]] = {}
    for heading in sheet.headings:
        if words := described(heading.column.conditions, ("assumptions",)):
            granted.setdefault(words, []).append(heading.name)
    yield from (f"{listed(names)}: with {words}" for words, names in granted.items())
    if any(row.origin.timing.get("contended") for _, _, row in known):
        yield "! taken while others used the machine: claims nothing"
    reasons: dict[tuple[str, str], list[str]] = {}
    for label, h, row in known:
        if row.value is None:
            reasons.setdefault((h.title, row.why), []).append(label)
    yield from (f"– {title} of {listed(labels)}: {why}" for (title, why), labels in reasons.items())
