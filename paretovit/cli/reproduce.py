"""`paretovit reproduce`: the papers' tables."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import STORE, Json, StoreUrl, app, print_json, print_rich


@app.command()
def reproduce(
    paper: Annotated[
        str | None, typer.Argument(metavar="[PAPER]", help="Such as hybrid-xformers; all papers by default.")
    ] = None,
    table: Annotated[str | None, typer.Option("--table", help="Only this table, by its number or name.")] = None,
    store: StoreUrl = STORE,
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="JSON lines of more rows; may be repeated.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="What the paper claims, tried on the rows, as a page of Markdown.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The tables of a paper, cell by cell: printed, ours, and whether they agree or why not."""
    from paretovit import papers
    from paretovit.errors import UserError

    if markdown and (paper is None or table is not None or as_json):
        raise UserError("--markdown is a page about the claims of one paper: name it, without --table and --json")
    rows = papers.stored_rows(store, results or (), default=STORE)
    if markdown:
        assert paper is not None
        typer.echo(papers.claims_page(paper, rows, shlex.join(["paretovit", *sys.argv[1:]])), nl=False)
        return
    cells = [cell for name in ([paper] if paper else papers.names()) for cell in papers.reproduce(name, table, rows)]
    if as_json:
        print_json([asdict(cell) for cell in cells])
        return
    from paretovit.report.tables import table as drawn

    typer.echo(papers.heading(cells))
    for sheet in papers.sheets(cells):
        typer.echo(f"\n{sheet.title}")
        print_rich(drawn(sheet.lines, sheet.columns))
        typer.echo(sheet.notes)
    typer.echo("\n" + "\n".join(papers.summary(cells)))
    for sheet in papers.claim_sheets(papers.claims(rows, paper) if table is None else []):
        typer.echo(f"\n{sheet.title}")
        print_rich(drawn(sheet.lines, sheet.columns))
        typer.echo(sheet.notes)
