"""`paretovit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import DataName, Device, Json, app, for_data, show
from paretovit.errors import UserError


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT|MODEL")],
    data: DataName,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="With timm's weights, where it has them.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Accuracy of a checkpoint, or of a pretrained model, on a data set."""
    spec, images = for_data(name, data)
    if not pretrained and not Path(name, "spec.json").is_file():
        raise UserError(f"{name} has no trained weights; give a checkpoint folder, or --pretrained")
    from paretovit.training.evaluate import evaluate as run
    from paretovit.training.loop import how_trained
    from paretovit.zoo.build import build

    module = build(
        name, img_size=spec.image_px, in_chans=spec.in_chans, num_classes=spec.num_classes, pretrained=pretrained
    )
    recipe, seed = how_trained(Path(name))
    show(run(spec, module.to(device).eval(), images.val, recipe=recipe, seed=seed, device=device), as_json)
