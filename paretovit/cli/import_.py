"""`paretovit import`: what others published, as rows of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import STORE, StoreUrl, app, open_store


@app.command("import")
def import_(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="Whose results: timm-results, wttf-runs or catalog.")],
    path: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="The folder that holds them; the catalog has none.")
    ] = None,
    store: StoreUrl = STORE,
) -> None:
    """Published accuracies and timings as rows of the store, with their source; none is doubled."""
    from paretovit.importers import read

    published = read(layout, path)  # refused before a store is made for it
    with open_store(store) as rows:
        typer.echo(f"{rows.append_new(*published):,} new rows in {rows.place}")
