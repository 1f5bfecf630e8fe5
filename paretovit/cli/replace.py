"""`paretovit replace`: layers of a trained model by others."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

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
def replace(
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT|MODEL")],
    data: DataName,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new checkpoint.")],
    layers: Annotated[list[str], typer.Option("--layers", help="6-11, or 3; from 0; may be repeated.")],
    mixer: Annotated[str, typer.Option("--mixer", help="Token mixer of the new stage: focal, pooling, ...")],
    depth: Annotated[int | None, typer.Option("--depth", help="Of the new stage; as many layers as before.")] = None,
    embed: Annotated[bool, typer.Option("--embed", help="A 4x4 convolution in front of the stage.")] = False,
    class_mixer: Annotated[bool, typer.Option("--class-mixer", help="The class token hears the stage.")] = False,
    among: Annotated[bool, typer.Option("--class-token-among", help="The class token goes through it.")] = False,
    alpha: Annotated[float, typer.Option("--alpha", help="Weight of distillation; the labels have the rest.")] = 0.35,
    loss: Annotated[str, typer.Option("--loss", help="mse, mean_mse, ce, kl, mmd, ...")] = "mean_mse",
    match: Annotated[Literal["stage", "logits"], typer.Option("--match", help="What is distilled.")] = "stage",
    tau: Annotated[float, typer.Option("--tau", help="Temperature for --match logits.")] = 1.0,
    alpha_schedule: Annotated[
        Literal["constant", "linear"], typer.Option("--alpha-schedule", help="linear falls to 0.")
    ] = "constant",
    noise: Annotated[float, typer.Option("--noise", help="Share of random images in the distillation.")] = 0.0,
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Short for --set lr=X.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The parent has timm's weights.")] = False,
    weights: Annotated[str | None, typer.Option("--weights", help="A file of the parent's, in timm's format.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the folder.")] = True,
    measure: Annotated[bool, typer.Option("--measure", help="Also the latency of both, on this machine.")] = False,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Replace layers of a trained ViT by other token mixers, and train what is new on labels and parent."""
    from paretovit.devices import device_name
    from paretovit.errors import UserError
    from paretovit.training.recipe import named_recipe, with_changes

    if class_mixer and among:
        raise UserError("the class token goes through the stage or is mixed behind it; give one of the two options")
    fields = (("epochs", epochs), ("lr", lr))
    changes = [*(set_ or []), *(f"{field}={value}" for field, value in fields if value is not None)]
    chosen = with_changes(named_recipe(recipe), changes)
    from paretovit.optimize.replace import Distil, opened, replace_layers
    from paretovit.optimize.replace_sheet import replace_sheet
    from paretovit.optimize.replacement import Plan, layer_ranges
    from paretovit.spec import Part
    from paretovit.training.progress import progress_bar

    plan = Plan(
        layers=layer_ranges(layers),
        mixer=Part(mixer),
        depth=depth,
        embed=embed,
        class_tokens="mixed" if class_mixer else "among" if among else None,
    )
    distil = Distil(alpha=alpha, loss=loss, match=match, tau=tau, schedule=alpha_schedule, random=noise)
    parent, images = opened(name, data, weights=weights, pretrained=pretrained)
    try:
        with progress_bar(parent.spec.name) as watch:
            done = replace_layers(
                parent, plan, images, chosen, out=out, distil=distil, resume=resume, device=device, progress=watch
            )
    except KeyboardInterrupt as stop:
        words = ["paretovit", *(word for word in sys.argv[1:] if word != "--no-resume")]
        typer.echo(f"\n{stop}:\n{shlex.join(words)}", err=True)
        raise typer.Exit(0) from None
    specs = [done.replacement.whole, done.replacement.spec]
    with open_store(store) as rows:
        found = [*done.parent_rows, *done.rows, *done.counts]
        rows.append([row for row in found if not rows.has(row.conditions, row.indicator)], specs)
        if measure:
            from paretovit.cost.measure import measure as run

            with measuring() as progress:
                run(specs, indicators=["latency_s"], device=device, store=rows, progress=progress)
        timed = rows.rows("latency_s", device=device_name(device), runtime="torch_eager") if measure else []
    if as_json:
        print_json(done.to_json())
        return
    from paretovit.report.tables import table

    sheet = replace_sheet(done, timed)
    print_rich(table(sheet.lines, sheet.columns, sheet.title))
    typer.echo(sheet.notes)
