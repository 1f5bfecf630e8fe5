"""`paretovit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import STORE, StoreUrl, app, open_store


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="Folder of the page and its figures.")] = Path("report"),
    store: StoreUrl = STORE,
) -> None:
    """The whole page from the rows of a store, and its figures as SVG and PNG."""
    with open_store(store, create=False) as rows:
        from paretovit.papers import claims
        from paretovit.report.page import write

        paths = write(rows, out, claims(rows.rows()))
    typer.echo(f"{paths[0]} and {len(paths) - 1} figures")
