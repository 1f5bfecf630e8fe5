"""`paretovit publish`: a checkpoint as timm and the Hugging Face hub have it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import app


@app.command()
def publish(
    name: Annotated[Path, typer.Argument(metavar="CHECKPOINT")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    data: Annotated[
        str | None, typer.Option("--data", help="What it was trained on, where the checkpoint does not tell.")
    ] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Only these classes of it, such as 0-4,7.")] = None,
) -> None:
    """A checkpoint as a folder in the Hugging Face hub's layout, which timm opens; nothing is sent."""
    from paretovit.training.data import open_data
    from paretovit.training.hub import publish as run
    from paretovit.zoo.checkpoint import load_model

    opened = None
    if data is not None:
        spec, _ = load_model(name)
        opened = open_data(data, img_size=spec.square_px, in_chans=spec.in_chans, frames=spec.frames, classes=classes)
    made = run(name, out, data=opened)
    if made.needs_paretovit:
        typer.echo("import paretovit  # makes the architecture known to timm")
    typer.echo(f'timm.create_model("local-dir:{made.folder}", pretrained=True)')
    typer.echo(f"to upload it: hf upload USER/NAME {made.folder}", err=True)
