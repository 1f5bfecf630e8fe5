"""`paretovit scale`: a plain vision transformer grown step by step against a cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import (
    STORE,
    DataName,
    Device,
    Json,
    StoreUrl,
    app,
    measuring,
    open_store,
    print_json,
    print_rich,
)


@app.command()
def scale(
    data: DataName,
    out: Annotated[Path, typer.Option("--out", help="Folder of the path, and of a checkpoint for each step.")],
    start: Annotated[str, typer.Argument(metavar="START", help="A model of one stage.")] = "deit_scaled_start",
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    cost: Annotated[
        str, typer.Option("--cost", help="macs, params, peak_bytes_infer, latency_s, images_per_s, ...")
    ] = "macs",
    runtime: Annotated[str, typer.Option("--runtime", help="Where a time or a rate is measured.")] = "torch_eager",
    factor: Annotated[float, typer.Option("--factor", help="By which each step multiplies the cost.")] = 2.0,
    steps: Annotated[int, typer.Option("--steps", help="How many.")] = 4,
    refine: Annotated[int, typer.Option("--refine", help="Random models of the last cost; the paper has 24.")] = 0,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Share by which a cost may miss its target.")] = 0.1,
    predict: Annotated[
        int, typer.Option("--predict", help="Models measured first, to foretell a measured cost; 0 for none.")
    ] = 0,
    halving: Annotated[
        bool, typer.Option("--halving", help="End the worse half's trainings after 1/4 of the epochs, and after 1/2.")
    ] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Trainings at once; on a CPU, one per core.")] = None,
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Train on a Ray cluster instead; local makes one here.")
    ] = "",
    threads: Annotated[int | None, typer.Option("--threads", help="Of what is measured; all cores by default.")] = None,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per call for peaks of memory.")] = 8,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw the path to a .svg, .png or .html.")] = None,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Scale a ViT by depth, heads, width, MLP, image and patch, each alone to the same cost; the best goes on.

    An interrupted search goes on where it was.
    """
    from paretovit.devices import num_threads
    from paretovit.training.recipe import named_recipe, with_changes

    chosen = with_changes(named_recipe(recipe), set_ or [])
    from paretovit.optimize.scale import Plan
    from paretovit.optimize.scale import scale as run
    from paretovit.training.progress import progress_bar

    plan = Plan(factor=factor, steps=steps, refine=refine, tolerance=tolerance, predict=predict, halving=halving)
    with open_store(store) as rows:
        path = run(
            start,
            data,
            chosen,
            plan,
            cost=cost,
            out=out,
            store=rows,
            runtime=runtime,
            device=device,
            batch_size=batch_size,
            threads=threads,
            jobs=jobs or (num_threads() if device == "cpu" else 1),
            ray=ray,
            tell=lambda text: typer.echo(text, err=True),
            watching=progress_bar,
            measuring=measuring,
        )
    if figure is not None:
        from paretovit.report.figures.scaling_path import draw_path
        from paretovit.report.save import save_chart

        save_chart(draw_path(path.to_json()), figure)
        typer.echo(f"{figure}", err=True)
    if as_json:
        print_json(path.to_json())
        return
    from paretovit.optimize.scale_sheet import scale_sheet
    from paretovit.report.tables import table

    sheet = scale_sheet(path)
    print_rich(table(sheet.lines, sheet.columns, sheet.title))
    typer.echo(sheet.notes)
