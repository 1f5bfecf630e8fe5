"""Cells as text: a sheet for each table of a paper, and sentences that say how many cells agree."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from paretovit.papers._cells import KINDS, Cell, Verdict

LEGEND = (
    "Upper lines: printed. Lower lines: ours, or whose they say; = marks the printed number to its last digit or, "
    "where none is printed, the number of a recount from the paper's formulas and code; ≈ one within 1% of it; ≠ one "
    "that is neither, and nobody knows why; – is none; letters are explained below, where MODEL is a name that "
    "`--json` has."
)
_WIDTH = 100
_EQUAL = ("exact", "recounted")
_MARKS: dict[Verdict, str] = {"near": "≈", "differs": "≠"}
_PHRASES: dict[Verdict, str] = {
    "exact": "exact",
    "misprint": "misprint",
    "recounted": "equal to the recount, none being printed",
    "explained": "apart from it by no more than the notes name",
    "near": "within 1%",
    "agrees": "met by {whose}",
    "lower": "lower here",
    "higher": "higher here",
    "open": "with a single seed of ours, which has no spread",
    "unprinted": "of ours where none is printed",
    "elsewhere": "with one of another device beside",
    "missing": "with none of {whose} beside",
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
    """The cells of one table: for each row a line as printed, and as many below it as there are of ours and others."""
    kinds = [kind for kind in KINDS if any(cell.cell == kind for cell in cells)]
    letters: dict[str, str] = {}
    lines = []
    for row in dict.fromkeys(cell.row for cell in cells):
        of = [cell for cell in cells if cell.row == row]
        first = {cell.cell: cell for cell in reversed(of)}
        lines.append([row, *(_printed(first[kind]) if kind in first else "" for kind in kinds)])
        for whose in dict.fromkeys(cell.whose for cell in of):
            columns = [[cell for cell in of if (cell.cell, cell.whose) == (kind, whose)] for kind in kinds]
            for at in range(max(map(len, columns))):
                theirs = (_ours(column[at], letters) if at < len(column) else "" for column in columns)
                lines.append([f"  {whose}", *theirs])
    notes = [wrapped(f"{letter}  {note}", indent=3) for note, letter in letters.items()]
    return Sheet(title, ["model", *(KINDS[kind].head for kind in kinds)], lines, "\n".join(notes))


def summary(cells: Sequence[Cell]) -> list[str]:
    """A sentence for every sort of cell and whose number it is: how many are as printed, or as recounted, and which are
    not and why; below the paper's name where there are several papers."""
    by_paper: dict[str, list[Cell]] = {}
    for cell in cells:
        by_paper.setdefault(cell.paper, []).append(cell)
    said = {paper: [_sentence(sort) for sort in _sorts(of)] for paper, of in by_paper.items()}
    if len(said) < 2:
        return [sentence for sentences in said.values() for sentence in sentences]
    return [line for paper, sentences in said.items() for line in (f"{paper}:", *sentences)]


def _sorts(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells by what they are called and whose they are, in the order of the kinds."""
    sorts: dict[tuple[str, str], list[Cell]] = {}
    for kind, known in KINDS.items():
        for cell in cells:
            if cell.cell == kind:
                sorts.setdefault((known.words, cell.whose), []).append(cell)
    return list(sorts.values())


def table_name(table: str) -> str:
    """How a table is spoken of: "table 4.2", and what has no number by its name alone: "figure 8"."""
    return f"table {table}" if table[0].isdigit() else table


def wrapped(text: str, indent: int = 0) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _printed(cell: Cell) -> str:
    return "" if cell.printed is None else _number(cell, cell.printed)


def _ours(cell: Cell, letters: dict[str, str]) -> str:
    mark = "=" if cell.verdict in _EQUAL else _MARKS.get(cell.verdict, "")
    if cell.note:
        note = cell.note.replace(cell.model, "MODEL") if cell.model else cell.note  # one letter for many cells
        mark += letters.setdefault(note, string.ascii_letters[len(letters)])
    if cell.ours is None:
        return f"{mark} –"
    if cell.spread is None:
        return f"{mark} {_number(cell, cell.ours)}"
    return f"{mark} {cell.ours:,.1f} ±{cell.spread:.1f}"


def _number(cell: Cell, value: float) -> str:
    kind = KINDS[cell.cell]
    if kind.names:
        return kind.names[round(value)]
    return f"{value / kind.per:,.{kind.decimals if cell.digits is None else cell.digits}f}"


def _sentence(cells: Sequence[Cell]) -> str:
    words, whose, parts = KINDS[cells[0].cell].words, cells[0].whose, []
    for printed in (True, False):
        of = [cell for cell in cells if (cell.printed is not None) == printed]
        said = f" of {len(_rows(of))} {'printed ' if printed else ''}{words}"
        for verdict, phrase in _PHRASES.items():
            found = [cell for cell in of if cell.verdict == verdict]
            if found:
                named = f": {', '.join(map(_named, found))}" if verdict in ("misprint", "differs") else ""
                parts.append(f"{len(_rows(found))}{said} {phrase.format(whose=_spoken(whose))}{named}")
                said = ""
    return wrapped("; ".join(parts), indent=3)


def _spoken(whose: str) -> str:
    return {"ours": "ours", "here": "this machine's"}.get(whose, f"the {whose}")


def _rows(cells: Sequence[Cell]) -> set[tuple[str, str, str]]:
    return {(cell.table, cell.row, cell.cell) for cell in cells}


def _named(cell: Cell) -> str:
    expected = cell.recounted if cell.printed is None else cell.printed
    said = "recounted" if cell.printed is None else "printed"
    numbers = [f"{said} {_number(cell, expected)}"] if expected is not None else []
    numbers += [f"ours {_number(cell, cell.ours)}"] if cell.ours is not None else []
    return f"{cell.row} in {table_name(cell.table)} ({', '.join(numbers)})"
