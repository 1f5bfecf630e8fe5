"""`paretovit sparsify`: N:M sparsity, with masks that training keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from paretovit.cli.app import STORE, Device, ImgSize, Json, StoreUrl, app, open_store, print_json, print_rich, show
from paretovit.errors import UserError


@app.command()
def sparsify(
    name: Annotated[str, typer.Argument(metavar="MODEL|CHECKPOINT")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the sparse checkpoint.")],
    pattern: Annotated[str, typer.Option("--pattern", help="N:M: of every M weights N stay.")] = "2:4",
    layers: Annotated[str | None, typer.Option("--layers", help="Blocks, such as 4-11; all by default.")] = None,
    where: Annotated[str, typer.Option("--where", help="all, or roofline: where it makes --for faster.")] = "all",
    for_: Annotated[str, typer.Option("--for", help="For --where: a10, h100, ...")] = "a10",
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="For --where: images at a time.")] = 256,
    score: Annotated[
        Literal["magnitude", "wanda"], typer.Option("--score", help="What weights are judged by.")
    ] = "magnitude",
    reorder: Annotated[
        bool, typer.Option("--permute", help="Order channels such that more is kept; the model stays the same.")
    ] = False,
    dtype: Annotated[str, typer.Option("--dtype", help="Of the compressed file.")] = "float16",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="From timm's weights.")] = False,
    data: Annotated[str | None, typer.Option("--data", help="To judge it, fine-tune it, or for --score wanda.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="Fine-tune with masks by a named recipe.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N.")] = None,
    gradual: Annotated[bool, typer.Option("--gradual", help="Prune a weight of each group at a time.")] = False,
    img_size: ImgSize = None,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Make a model 2:4 (or N:M) sparse, fine-tune it with masks, and write it with and without its zeros."""
    if recipe is not None and data is None:
        raise UserError("fine-tuning needs data; give --data")
    if score == "wanda" and data is None:
        raise UserError("--score wanda judges weights on images; give --data")
    if recipe is None and (set_ or epochs is not None or gradual):
        raise UserError("--set, --epochs and --gradual are for fine-tuning; give --recipe and --data")
    from paretovit.optimize.prune import How, opened, prune
    from paretovit.optimize.sparsify import block_range
    from paretovit.training.recipe import named_recipe, with_changes
    from paretovit.zoo.patterns import Pattern

    how = How(
        pattern=Pattern.of(pattern),
        blocks=None if layers is None else block_range(layers),
        where=where,
        device=for_,
        batch_size=batch_size,
        score=score,
        reorder=reorder,
        gradual=gradual,
    )
    changes = [*(set_ or []), *([f"epochs={epochs}"] if epochs is not None else [])]
    chosen = None if recipe is None else with_changes(named_recipe(recipe), changes)
    model = opened(name, data, pretrained=pretrained, img_size=img_size)
    from paretovit.training.progress import progress_bar

    with progress_bar(model.spec.name) as watch:
        done = prune(model, how, out=out, dtype=dtype, recipe=chosen, train_device=device, progress=watch)
    if done.rows:
        with open_store(store) as rows:
            specs = [model.spec, done.sparsified.spec]
            rows.append([row for row in done.rows if not rows.has(row.conditions, row.indicator)], specs)
    if as_json:
        print_json(done.to_json())
        return
    from paretovit.optimize.prune_sheet import prune_sheet
    from paretovit.report.tables import table

    sheet = prune_sheet(done)
    print_rich(table(sheet.lines, sheet.columns, sheet.title))
    typer.echo(sheet.notes)
    if done.rows:
        show([row for row in done.rows if row.indicator == "top1"], as_json)
