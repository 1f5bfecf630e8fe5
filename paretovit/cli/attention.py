"""`paretovit attention`: what a model's attention looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import Device, Json, app, print_json, print_rich


@app.command()
def attention(
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT|MODEL")],
    image: Annotated[list[Path], typer.Option("--image", help="A picture to look at; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the pictures and of the numbers.")],
    layers: Annotated[
        list[str] | None, typer.Option("--layers", help="To draw, such as 0,6-8; all by default.")
    ] = None,
    heads: Annotated[
        list[str] | None, typer.Option("--heads", help="To draw, such as 0-2, or all; their mean by default.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="With timm's weights, where it has them.")] = False,
    weights: Annotated[Path | None, typer.Option("--weights", help="A file of weights in timm's format.")] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Attention maps of a model over a picture, how far each layer looks, and whether all queries look alike."""
    from paretovit.devices import check_device
    from paretovit.optimize.attention import attention_sheet, look

    seen = look(
        name,
        image,
        out=out,
        layers=layers or (),
        heads=heads or (),
        weights=weights,
        pretrained=pretrained,
        device=check_device(device),
    )
    if as_json:
        print_json(seen.to_json())
        return
    from paretovit.report.tables import table

    sheet = attention_sheet(seen)
    print_rich(table(sheet.lines, sheet.columns, sheet.title))
    typer.echo(sheet.notes)
