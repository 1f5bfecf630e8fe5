"""`paretovit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import DataName, Device, Json, app, print_rich, show


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT|MODEL")],
    data: DataName,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="With timm's weights, where it has them.")] = False,
    img_size: Annotated[
        list[int] | None, typer.Option("--img-size", help="Another image side; repeat it to sweep several.")
    ] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Only these, such as 0-4,7.")] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Also the accuracy of every class.")] = False,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per forward pass.")] = 256,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Accuracy of a checkpoint, or of a pretrained model, on a data set: top-1, top-5, by class, calibration."""
    from paretovit.devices import check_device
    from paretovit.report.accuracies import accuracy_table, class_table
    from paretovit.training.evaluate import evaluate as run
    from paretovit.training.run import how_trained
    from paretovit.training.start import trained

    check_device(device)
    recipe, seed = how_trained(Path(name))
    rows = []
    sizes: list[int | None] = list(img_size or ()) or [None]
    for px in sizes:
        spec, module, images = trained(name, data, img_size=px, classes=classes, pretrained=pretrained)
        module = module.to(device)
        found = run(spec, module, images.val, recipe=recipe, seed=seed, batch_size=batch_size, device=device)
        rows += [(spec.image_px, row) for row in found]
    if as_json:
        show([row for _, row in rows], as_json)
        return
    print_rich(accuracy_table(rows))
    if by_class:
        print_rich(class_table(rows))
