"""The tables of papers, cell by cell: printed, ours, and whether they agree or why not. One file per paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar

from paretovit.analysis.claims import Claim
from paretovit.errors import UserError, unknown
from paretovit.folder import Folder
from paretovit.measurement import Measurement
from paretovit.papers._cells import Cell, Verdict
from paretovit.papers._claim_sheets import claim_page, claim_sheets
from paretovit.papers._rows import stored_rows
from paretovit.papers._sheets import LEGEND, Sheet, sheet, summary, table_name, wrapped

__all__ = [
    "PAPERS",
    "Cell",
    "Claim",
    "Paper",
    "Sheet",
    "Verdict",
    "claim_sheets",
    "claims",
    "claims_page",
    "heading",
    "names",
    "reproduce",
    "sheets",
    "stored_rows",
    "summary",
]


class Paper(ABC):
    """What a paper prints, and what we get for it.

    title    authors, year, title and venue
    models   what the names of the models that it is about look like, as a wildcard
    marked   an indicator that rows must hold for it to claim anything of them, "" for any rows of its models
    tables   its tables by number as printed ("4.2"), figures and the like by name, each with a caption of ours
    """

    title: ClassVar[str]
    models: ClassVar[str]
    marked: ClassVar[str] = ""
    tables: ClassVar[dict[str, str]]

    @abstractmethod
    def cells(self, table: str, rows: Sequence[Measurement]) -> list[Cell]:
        """Every cell of a table, from top to bottom; `rows` is what has been measured and trained here."""

    def claims(self, rows: Sequence[Measurement]) -> list[Claim]:
        """What the paper says of pairs of models, tried on the rows; none where they hold no such pair."""
        return []


PAPERS: Folder[Paper] = Folder("paretovit.papers", "paper")


def reproduce(paper: str, table: str | None = None, rows: Sequence[Measurement] = ()) -> list[Cell]:
    """The cells of a paper, "hybrid-xformers" for the file `hybrid_xformers.py`; of one of its tables, or of all.

    Counts and sizes are worked out on the spot from our models, without weights; memory and accuracies are those of
    `rows`. Raises `UserError` for a paper that is not here, or a table that it has not.
    """
    name = _file(paper)
    if name not in PAPERS:
        raise unknown("paper", paper, names())
    tables = list(PAPERS.fact(name, "tables"))
    if table is not None and table not in tables:
        raise UserError(f"{paper} has no table {table}; it has {', '.join(tables)}")
    made = PAPERS[name]()
    return [cell for number in ([table] if table is not None else tables) for cell in made.cells(number, rows)]


def claims(rows: Sequence[Measurement], paper: str | None = None) -> list[Claim]:
    """The claims of a paper, or of every paper, on the pairs of models that the rows hold.

    Raises `UserError` for a paper that is not here.
    """
    if paper is not None and _file(paper) not in PAPERS:
        raise unknown("paper", paper, names())
    made: list[Claim] = []
    for name in [_file(paper)] if paper is not None else PAPERS.names():
        about = [row for row in rows if fnmatchcase(row.model, PAPERS.fact(name, "models"))]
        marked = PAPERS.fact(name, "marked", "")
        if any(row.indicator == marked or not marked for row in about):  # a paper's file loads torch
            made += PAPERS[name]().claims(about)
    return made


def claims_page(paper: str, rows: Sequence[Measurement], command: str) -> str:
    """The claims of a paper as a page of Markdown, which names the command that made it.

    Raises `UserError` for a paper that is not here, and for rows without a pair of models that it claims something of.
    """
    found = claims(rows, paper)
    if not found:
        raise UserError(f"the rows hold no models that {paper} claims something of; give more with --results")
    return claim_page(found, PAPERS.fact(_file(paper), "title"), command)


def names() -> list[str]:
    """Every paper as it is called on the command line."""
    return [name.replace("_", "-") for name in PAPERS.names()]


def heading(cells: Sequence[Cell]) -> str:
    """The papers that the cells are of, and how their sheets are to be read; lines of at most 100 characters."""
    titles = [PAPERS.fact(_file(name), "title") for name in dict.fromkeys(cell.paper for cell in cells)]
    return "\n".join(map(wrapped, [*titles, LEGEND]))


def sheets(cells: Sequence[Cell]) -> list[Sheet]:
    """The cells as text, a sheet for each table."""
    made = []
    for name, table in dict.fromkeys((cell.paper, cell.table) for cell in cells):
        caption = PAPERS.fact(_file(name), "tables")[table]
        of = [cell for cell in cells if (cell.paper, cell.table) == (name, table)]
        made.append(sheet(of, wrapped(f"{name}, {table_name(table)}: {caption}")))
    return made


def _file(paper: str) -> str:
    return paper.replace("-", "_")
