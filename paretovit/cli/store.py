"""`paretovit store export|import`: rows as JSON lines."""

from __future__ import annotations

from pathlib import Path

import typer

from paretovit.cli.app import STORE, StoreUrl, app, open_store

store_app = typer.Typer(
    help="Rows as JSON lines, out of a store and into one.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(store_app, name="store")


@store_app.command("export")
def store_export(path: Path, store: StoreUrl = STORE) -> None:
    """All specs and rows of a store as JSON lines."""
    with open_store(store, create=False) as rows:
        rows.export_lines(path)


@store_app.command("import")
def store_import(path: Path, store: StoreUrl = STORE) -> None:
    """JSON lines into a store; what it has already is not doubled."""
    with open_store(store) as rows:
        typer.echo(f"{rows.import_lines(path)} new lines")
