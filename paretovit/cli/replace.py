"""`paretovit replace`: layers of a trained model by others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from paretovit.cli.app import (
    STORE,
    DataName,
    Device,
    ImgSize,
    Json,
    StoreUrl,
    app,
    measuring,
    open_store,
    print_json,
    print_rich,
    resumable,
)


@app.command()
def replace(
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT|MODEL")],
    data: DataName,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new checkpoint.")],
    layers: Annotated[list[str] | None, typer.Option("--layers", help="6-11, or 3; from 0; may be repeated.")] = None,
    mixer: Annotated[
        list[str] | None,
        typer.Option(
            "--mixer",
            help="Of the new stages: focal, or a,b for each stretch of layers its own; repeated, a model for each.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Choose layers and mixers for it: macs=0.7x, latency_s=20ms, ..."),
    ] = None,
    mixers: Annotated[str, typer.Option("--mixers", help="To choose from, for --budget.")] = "focal,pooling,identity",
    beam: Annotated[int, typer.Option("--beam", help="Plans that go on from a step of the search.")] = 2,
    pieces: Annotated[int, typer.Option("--pieces", help="That the layers are cut into for the search.")] = 6,
    short_epochs: Annotated[int, typer.Option("--short-epochs", help="Of the training that ranks a plan.")] = 1,
    short_images: Annotated[int | None, typer.Option("--short-images", help="Images that it trains on.")] = None,
    finalists: Annotated[int, typer.Option("--finalists", help="Found plans that are trained in full.")] = 3,
    runtime: Annotated[str, typer.Option("--runtime", help="Where a budget's time is measured.")] = "torch_eager",
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Of a budget's peak of memory.")] = 8,
    depth: Annotated[int | None, typer.Option("--depth", help="Of the new stage; as many layers as before.")] = None,
    width: Annotated[
        int | None, typer.Option("--width", help="Of its blocks, between two linear maps; as wide as the layers.")
    ] = None,
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
    distill_data: Annotated[
        list[str] | None,
        typer.Option(
            "--distill-data", metavar="DATA[=SHARE]", help="Images to distil on, beside --data's; may be repeated."
        ),
    ] = None,
    start: Annotated[
        float,
        typer.Option("--start", help="Of a copy of the parent's stage: share of the parent in its first weights."),
    ] = 0.0,
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Short for --set lr=X.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The parent has timm's weights.")] = False,
    weights: Annotated[str | None, typer.Option("--weights", help="A file of the parent's, in timm's format.")] = None,
    img_size: ImgSize = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the folder.")] = True,
    curves: Annotated[bool, typer.Option("--curves", help="Also losses and accuracy after each epoch.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Also the latency of both, on this machine.")] = False,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Replace layers of a trained ViT by other token mixers, and train what is new on labels and parent."""
    from paretovit.devices import device_name
    from paretovit.errors import UserError
    from paretovit.training.recipe import named_recipe, with_changes

    if budget is None and not (layers and mixer):
        raise UserError(
            "say which layers by what, --layers 6-11 --mixer focal; or what it may cost, --budget macs=0.7x"
        )
    if budget is not None and curves:
        raise UserError("--curves is for one plan; leave it out with --budget")
    if budget is not None and (layers or mixer or depth or width or among):
        raise UserError("--budget chooses layers, mixers and depth itself; give --mixers to choose from, or no budget")
    if class_mixer and among:
        raise UserError("the class token goes through the stage or is mixed behind it; give one of the two options")
    fields = (("epochs", epochs), ("lr", lr))
    changes = [*(set_ or []), *(f"{field}={value}" for field, value in fields if value is not None)]
    chosen = with_changes(named_recipe(recipe), changes)
    from paretovit.optimize.distil import Distil
    from paretovit.optimize.replace import in_folders, opened, replace_layers
    from paretovit.optimize.replace_candidates import Budget, Search
    from paretovit.optimize.replace_choice import Chosen, choose_layers
    from paretovit.optimize.replace_choice_sheet import choice_sheet
    from paretovit.optimize.replace_sheet import replace_sheet
    from paretovit.optimize.replacement import Plan, layer_ranges
    from paretovit.report.quantities import quantity
    from paretovit.spec import Part
    from paretovit.training.progress import progress_bar

    distil = Distil(alpha=alpha, loss=loss, match=match, tau=tau, schedule=alpha_schedule, random=noise, start=start)
    chosen_by: Chosen | None = None
    with resumable():
        if budget is not None:
            wanted = Budget.of(budget, quantity)
            search = Search(
                mixers=_words(mixers),
                pieces=pieces,
                beam=beam,
                epochs=short_epochs,
                images=short_images,
                finalists=finalists,
                embed=embed,
                class_mixer=class_mixer,
            )
            parent, images = opened(name, data, weights=weights, pretrained=pretrained, img_size=img_size)
            distil = distil.with_sets(distill_data or (), images.train)
            with open_store(store) as rows:
                chosen_by = choose_layers(
                    parent,
                    images,
                    chosen,
                    wanted,
                    search=search,
                    out=out,
                    store=rows,
                    distil=distil,
                    runtime=runtime,
                    device=device,
                    batch_size=batch_size,
                    tell=lambda text: typer.echo(text, err=True),
                    watching=progress_bar,
                    measuring=measuring,
                )
            done = [chosen_by.done]
        else:
            assert layers is not None
            assert mixer is not None
            options: dict[str, Any] = {
                "layers": layer_ranges(layers),
                "depth": depth,
                "width": width,
                "embed": embed,
                "class_tokens": "mixed" if class_mixer else "among" if among else None,
            }
            mixed = [tuple(map(Part, _words(text))) for text in dict.fromkeys(mixer)]
            plans = [Plan(mixer=parts[0] if len(parts) == 1 else parts, **options) for parts in mixed]
            parent, images = opened(name, data, weights=weights, pretrained=pretrained, img_size=img_size)
            distil = distil.with_sets(distill_data or (), images.train)
            done = []
            for folder, plan in in_folders(out, parent, plans).items():
                with progress_bar(parent.spec.name) as watch:
                    made = replace_layers(
                        parent,
                        plan,
                        images,
                        chosen,
                        out=folder,
                        distil=distil,
                        resume=resume,
                        curves=curves,
                        device=device,
                        progress=watch,
                    )
                done.append(made)
    specs = [done[0].replacement.whole, *(one.replacement.spec for one in done)]
    with open_store(store) as rows:
        found = [*done[0].parent_rows, *(row for one in done for row in (*one.rows, *one.counts))]
        once = {(row.indicator, row.conditions): row for row in found}.values()
        rows.append([row for row in once if not rows.has(row.conditions, row.indicator)], specs)
        if measure:
            from paretovit.cost.measure import measure as run

            with measuring() as progress:
                run(specs, indicators=["latency_s"], device=device, store=rows, progress=progress)
        timed = rows.rows("latency_s", device=device_name(device), runtime="torch_eager") if measure else []
    if as_json:
        told = [one.to_json() for one in done]
        print_json(chosen_by.to_json() if chosen_by is not None else told[0] if len(told) == 1 else told)
        return
    from paretovit.report.tables import table

    if chosen_by is not None:
        choice = choice_sheet(chosen_by)
        print_rich(table(choice.lines, choice.columns, choice.title))
        typer.echo(f"{choice.notes}\n")
    sheet = replace_sheet(done, timed)
    print_rich(table(sheet.lines, sheet.columns, sheet.title))
    typer.echo(sheet.notes)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
