"""`paretovit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paretovit.cli.app import STORE, DataName, Device, Json, StoreUrl, app, open_store, resumable, show_trained

if TYPE_CHECKING:
    from paretovit.training.energy import Energy


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="MODEL|CHECKPOINT")],
    data: DataName,
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the checkpoint; runs/MODEL by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the folder.")] = True,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Short for --set lr=X.")] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="Short for --set teacher=MODEL.")] = None,
    img_size: Annotated[int | None, typer.Option("--img-size", help="Image side to train at.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Begin from timm's weights.")] = False,
    new_head: Annotated[bool, typer.Option("--new-head", help="A new head where the classes are others.")] = False,
    classes: Annotated[str | None, typer.Option("--classes", help="Only these classes, such as 0-4,7.")] = None,
    per_class: Annotated[int | None, typer.Option("--per-class", help="Only so many training images of each.")] = None,
    video: Annotated[
        str | None, typer.Option("--video", help="Make it a model of clips, with joint or divided attention.")
    ] = None,
    frames: Annotated[int | None, typer.Option("--frames", help="Of a clip, with --video; 8 by default.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be read.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", help="Processes that prepare images.")] = 0,
    compile_: Annotated[bool, typer.Option("--compile", help="Train the model compiled by torch.")] = False,
    grad_checkpointing: Annotated[
        bool, typer.Option("--grad-checkpointing", help="Less memory, more time: activations are worked out twice.")
    ] = False,
    fsdp: Annotated[
        bool, typer.Option("--fsdp", help="Under torchrun: every process keeps a part of the model, not all of it.")
    ] = False,
    keep: Annotated[int, typer.Option("--keep", help="Keep the models of so many last epochs.")] = 0,
    tracker: Annotated[list[str] | None, typer.Option("--tracker", help="tensorboard, wandb or mlflow.")] = None,
    assume: Annotated[
        list[str] | None, typer.Option("--assume", help="watts=NUMBER: the machine's power, where no meter tells.")
    ] = None,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Train a model, or go on from a checkpoint; its accuracy and what it cost become rows.

    An interrupted run goes on where it was.
    """
    from paretovit.training.recipe import named_recipe, with_changes

    changes = [*(set_ or [])]
    changes += [
        f"{field}={value}"
        for field, value in (("epochs", epochs), ("lr", lr), ("teacher", teacher))
        if value is not None
    ]
    chosen = with_changes(named_recipe(recipe), changes)
    from paretovit.training.loop import Execution
    from paretovit.training.loop import train as run
    from paretovit.training.progress import progress_bar
    from paretovit.training.start import start

    execution = Execution(
        workers=workers,
        compile=compile_,
        checkpointing=grad_checkpointing,
        fsdp=fsdp,
        energy=_energy(device, assume or []),
        keep=keep,
        trackers=tuple(tracker or ()),
    )
    begun = start(
        name,
        data,
        img_size=img_size,
        classes=classes,
        pretrained=pretrained,
        new_head=new_head,
        skip_unreadable=skip_unreadable,
        video=video,
        frames=frames,
    )
    if per_class is not None:
        chosen = with_changes(chosen, [f"train_images={per_class * begun.data.train.num_classes}"])
    with open_store(store) as rows:
        with resumable(), progress_bar(begun.spec.name) as watch:
            result = run(
                begun.spec,
                begun.data,
                chosen,
                out=out or Path("runs", (name if video is None else begun.spec.name).replace("/", "_")),
                resume=resume,
                device=device,
                begin=begun.begin,
                execution=execution,
                progress=watch,
            )
        show_trained(result, begun.spec, rows, as_json)


def _energy(device: str, assume: list[str]) -> Energy:
    """The device's meter, lent to the loop, or why there is none."""
    from paretovit.cost.assumptions import pairs
    from paretovit.cost.power import meter
    from paretovit.cost.subject import Setting
    from paretovit.errors import Unmeasurable
    from paretovit.training.energy import Energy

    stated = tuple((name, value) for name, value in pairs(assume).items() if name == "watts")
    try:
        return Energy(meter=meter(Setting(device=device, assumed=stated)), stated=stated)
    except Unmeasurable as error:
        return Energy(meter=None, why=str(error))
