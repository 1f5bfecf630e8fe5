"""`paretovit detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import STORE, Device, Json, StoreUrl, app, open_store, resumable, show, show_trained


@app.command()
def detect(
    name: Annotated[str, typer.Argument(metavar="BACKBONE|CHECKPOINT|DETECTOR")],
    data: Annotated[str, typer.Option("--data", help="coco/PATH, or pasted/DATA: any labelled images, pasted.")],
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "boxes",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    head: Annotated[
        list[str] | None, typer.Option("--head", help="size=number of the detector, such as queries=50; repeat it.")
    ] = None,
    img_size: Annotated[int | None, typer.Option("--img-size", help="Side that pictures are scaled to.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Begin from timm's weights.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Only judge the DETECTOR, a folder.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the checkpoint; runs/MODEL by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the folder.")] = True,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be read.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", help="Processes that prepare images.")] = 0,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Train a Deformable DETR on a backbone; its average precision and costs become rows.

    An interrupted run goes on where it was.
    """
    from paretovit.training.recipe import named_recipe, with_changes

    chosen = with_changes(named_recipe(recipe), set_ or [])
    from paretovit.training.loop import Execution
    from paretovit.training.progress import progress_bar
    from paretovit.transfer.detect import detect as run
    from paretovit.transfer.detect import judge, start

    if evaluate:
        show(judge(name, data, device=device, skip_unreadable=skip_unreadable), as_json)
        return
    begun = start(
        name, data, img_size=img_size, head=head or [], pretrained=pretrained, skip_unreadable=skip_unreadable
    )
    with open_store(store) as rows:
        with resumable(), progress_bar(begun.spec.name) as watch:
            result = run(
                begun,
                chosen,
                out=out or Path("runs", begun.spec.name.replace("/", "_")),
                resume=resume,
                device=device,
                execution=Execution(workers=workers),
                progress=watch,
            )
        show_trained(result, begun.spec, rows, as_json)
