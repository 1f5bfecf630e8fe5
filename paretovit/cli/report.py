"""`paretovit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from paretovit.cli.app import STORE, StoreUrl, app, open_store


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="Folder of the page and its figures.")] = Path("report"),
    store: StoreUrl = STORE,
    pictures: Annotated[
        Literal["main", "all", "none"],
        typer.Option("--pictures", help="Figures to write as SVG and PNG: those the page shows first, all, or none."),
    ] = "main",
) -> None:
    """The whole page from the rows of a store, and its figures as SVG and PNG."""
    with open_store(store, create=False) as rows:
        from paretovit.papers import claims
        from paretovit.report.page import write

        paths = write(rows, out, claims(rows.rows()), pictures=pictures)
    typer.echo(f"{paths[0]} and {len(paths) - 1} pictures of figures")
