"""`paretovit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import STORE, DataName, Device, Json, StoreUrl, app, for_data, open_store, show


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    data: DataName,
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the checkpoint; runs/MODEL by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the folder.")] = True,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Short for --set lr=X.")] = None,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Train a model; its accuracy and what it cost become rows. An interrupted run goes on where it was."""
    from paretovit.training.recipe import named_recipe, with_changes

    changes = [
        *(set_ or []),
        *([f"epochs={epochs}"] if epochs is not None else []),
        *([f"lr={lr}"] if lr is not None else []),
    ]
    chosen = with_changes(named_recipe(recipe), changes)
    spec, images = for_data(name, data)
    from paretovit.training.loop import train as run
    from paretovit.training.progress import progress_bar

    with open_store(store) as rows:
        with progress_bar(spec.name) as watch:
            result = run(
                spec,
                images,
                chosen,
                out=out or Path("runs", name.replace("/", "_")),
                resume=resume,
                device=device,
                progress=watch,
            )
        rows.append([row for row in result.rows if not rows.has(row.conditions, row.indicator)], [spec])
    show(result.rows, as_json)
    typer.echo(f"checkpoint: {result.checkpoint}", err=True)
