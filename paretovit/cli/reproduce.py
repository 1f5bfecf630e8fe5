"""`paretovit reproduce`: the papers' tables."""

from __future__ import annotations

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
    as_json: Json = False,
) -> None:
    """The tables of a paper, cell by cell: printed, ours, and whether they agree or why not."""
    from paretovit import papers

    rows = papers.stored_rows(store, results or (), default=STORE)
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
