"""`paretovit roofline`: where a model's layers lie on a device's roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import ImgSize, InChans, Json, NumClasses, app, open_store, print_json, print_rich


@app.command()
def roofline(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    device: Annotated[
        str, typer.Option("--device", help="a10, a30, a40, a100, v100, t4, h100, h200, or measured: this machine.")
    ] = "a10",
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images at a time.")] = 256,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float16, bfloat16, tfloat32 or float32; float16, on a CPU float32, by default."),
    ] = None,
    on: Annotated[str, typer.Option("--on", help="For measured: cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int | None, typer.Option("--threads", help="For measured; all cores by default.")] = None,
    roofs: Annotated[
        Path, typer.Option("--roofs", help="For measured: a store; only what it has no rows of is measured.")
    ] = Path("roofs.sqlite"),
    again: Annotated[bool, typer.Option("--again", help="Measure what it has, too.")] = False,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw the layers to a .svg, .png or .html.")] = None,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    as_json: Json = False,
) -> None:
    """Every layer on a device's roofline, dense and 2:4 sparse: what bounds it, the least time, prune it or not."""
    from paretovit.zoo.catalog import resolve

    spec = resolve(name, img_size=img_size, in_chans=in_chans, num_classes=num_classes)
    from paretovit.optimize.roofline import measured, predicted

    if device == "measured":
        with open_store(str(roofs)) as rows:
            found = measured(spec, rows, device=on, dtype=dtype, threads=threads, batch_size=batch_size, again=again)
    else:
        found = predicted(spec, device, dtype=dtype, batch_size=batch_size)
    from paretovit.optimize.roofline_sheet import roofline_sheet, spots

    if figure is not None:
        from paretovit.report.figures.roofline import draw_layers
        from paretovit.report.save import save_chart

        save_chart(draw_layers(spots(found), found.device, found.dtype, found.model), figure)
        typer.echo(f"{figure}", err=True)
    if as_json:
        print_json(found.to_json())
        return
    from paretovit.report.tables import table

    sheet = roofline_sheet(found)
    print_rich(table(sheet.lines, sheet.columns, sheet.title))
    typer.echo(sheet.notes)
