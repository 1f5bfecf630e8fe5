"""Cells as text: a sheet for each table of a paper, and sentences that say how many cells agree."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from paretovit.papers._cells import KINDS, Cell, Verdict

LEGEND = (
    "Upper lines: printed. Lower lines: ours; = marks the printed number to its last digit or, where none is printed, "
    "the number of a recount from the paper's formulas and code; ≠ one that is neither, and nobody knows why; – is "
    "none of ours; letters are explained below, where MODEL is a name that `--json` has."
)
_WIDTH = 100
_EQUAL = ("exact", "recounted")
_PHRASES: dict[Verdict, str] = {
    "exact": "exact",
    "misprint": "misprint",
    "recounted": "equal to the recount, none being printed",
    "explained": "equal to it but for what the notes name",
    "agrees": "met by ours",
    "lower": "lower here",
    "higher": "higher here",
    "open": "with a single seed of ours, which has no spread",
    "missing": "with none of ours beside",
    "differs": "different",
}


@dataclass(frozen=True)
class Sheet:
    """A table whose cells are text, and the notes below it, in lines of at most 100 characters."""

    title: str
    columns: list[str]
    lines: list[list[str]]
    notes: str


def sheet(cells: Sequence[Cell], title: str) -> Sheet:
    """The cells of one table: for each row a line as printed, and as many below it as there are of ours."""
    kinds = [kind for kind in KINDS if any(cell.cell == kind for cell in cells)]
    letters: dict[str, str] = {}
    lines = []
    for row in dict.fromkeys(cell.row for cell in cells):
        columns = [[cell for cell in cells if (cell.row, cell.cell) == (row, kind)] for kind in kinds]
        lines.append([row, *(_printed(column[0]) for column in columns)])
        for at in range(max(map(len, columns))):
            lines.append(["  ours", *(_ours(column[at], letters) if at < len(column) else "" for column in columns)])
    notes = [wrapped(f"{letter}  {note}", indent=3) for note, letter in letters.items()]
    return Sheet(title, ["model", *(KINDS[kind].head for kind in kinds)], lines, "\n".join(notes))


def summary(cells: Sequence[Cell]) -> list[str]:
    """A sentence for every sort of cell: how many are as printed, or as recounted, and which are not and why."""
    return [_sentence(of) for kind in KINDS if (of := [cell for cell in cells if cell.cell == kind])]


def wrapped(text: str, indent: int = 0) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _printed(cell: Cell) -> str:
    return "" if cell.printed is None else _number(cell, cell.printed)


def _ours(cell: Cell, letters: dict[str, str]) -> str:
    mark = "=" if cell.verdict in _EQUAL else "≠" if cell.verdict == "differs" else ""
    if cell.note:
        note = cell.note.replace(cell.model, "MODEL")  # one letter for what many cells have in common
        mark += letters.setdefault(note, string.ascii_letters[len(letters)])
    if cell.ours is None:
        return f"{mark} –"
    if cell.spread is None:
        return f"{mark} {_number(cell, cell.ours)}"
    return f"{mark} {cell.ours:,.1f} ±{cell.spread:.1f}"


def _number(cell: Cell, value: float) -> str:
    kind = KINDS[cell.cell]
    return f"{value / kind.per:,.{kind.decimals}f}"


def _sentence(cells: Sequence[Cell]) -> str:
    words, parts = KINDS[cells[0].cell].words, []
    for printed in (True, False):
        of = [cell for cell in cells if (cell.printed is not None) == printed]
        said = f" of {len(_rows(of))} {'printed ' if printed else ''}{words}"
        for verdict, phrase in _PHRASES.items():
            found = [cell for cell in of if cell.verdict == verdict]
            if found:
                named = f": {', '.join(map(_named, found))}" if verdict in ("misprint", "differs") else ""
                parts.append(f"{len(_rows(found))}{said} {phrase}{named}")
                said = ""
    return wrapped("; ".join(parts), indent=3)


def _rows(cells: Sequence[Cell]) -> set[tuple[int, str]]:
    return {(cell.table, cell.row) for cell in cells}


def _named(cell: Cell) -> str:
    expected = cell.recounted if cell.printed is None else cell.printed
    said = "recounted" if cell.printed is None else "printed"
    numbers = [f"{said} {_number(cell, expected)}"] if expected is not None else []
    numbers += [f"ours {_number(cell, cell.ours)}"] if cell.ours is not None else []
    return f"{cell.row} in table {cell.table} ({', '.join(numbers)})"
