"""`paretovit models`: what the zoo holds."""

from __future__ import annotations

from typing import Annotated

import typer

from paretovit.cli.app import Json, app, print_json, print_rich


@app.command()
def models(
    family: Annotated[str | None, typer.Option("--family", help="Only this class of the taxonomy.")] = None,
    as_json: Json = False,
) -> None:
    """The catalog: taxonomy, paper, published numbers."""
    from paretovit.report.tables import catalog_table
    from paretovit.zoo.catalog import catalog

    entries = catalog(family)
    if as_json:
        print_json([entry.to_json() for entry in entries])
    else:
        print_rich(catalog_table(entries))
