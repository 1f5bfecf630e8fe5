"""`paretovit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import (
    DTYPE,
    CalibrationData,
    DataName,
    Device,
    Json,
    app,
    calibration_images,
    open_store,
    print_rich,
    show,
)


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
    runtime: Annotated[str | None, typer.Option("--runtime", help="Also as this runtime computes it.")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help=f"Of that runtime: {DTYPE}")] = "float32",
    calibration: CalibrationData = None,
    store: Annotated[str | None, typer.Option("--store", help="File or database URL that the rows go into.")] = None,
    as_json: Json = False,
) -> None:
    """Accuracy of a checkpoint, or of a pretrained model, on a data set: top-1, top-5, by class, calibration."""
    from paretovit.devices import check_device
    from paretovit.errors import UserError
    from paretovit.report.accuracies import accuracy_table, class_table, lost_lines
    from paretovit.training.evaluate import evaluate as run
    from paretovit.training.run import how_trained
    from paretovit.training.start import trained

    check_device(device)
    if runtime is None and (dtype != "float32" or calibration is not None):
        raise UserError("--dtype and --calibration are a runtime's; give --runtime too, such as onnxruntime")
    recipe, seed = how_trained(Path(name))
    rows = []
    sizes: list[int | None] = list(img_size or ()) or [None]
    for px in sizes:
        spec, module, images = trained(name, data, img_size=px, classes=classes, pretrained=pretrained)
        served = None
        if runtime is not None:
            from paretovit.cost.served import Served

            served = Served(
                spec,
                module,
                runtime=runtime,
                device=device,
                dtype=dtype,
                batch_size=batch_size,
                calibration=calibration_images(calibration),
            )
        found = run(
            spec,
            module.to(device),
            images.val,
            recipe=recipe,
            seed=seed,
            batch_size=batch_size,
            device=device,
            served=served,
            served_by=None if served is None else served.conditions,
        )
        rows += [(spec.square_px, row) for row in found]
        if store is not None:
            with open_store(store) as kept:
                kept.append(found, [spec])
    if as_json:
        show([row for _, row in rows], as_json)
        return
    print_rich(accuracy_table(rows))
    for line in lost_lines(rows):
        typer.echo(line)
    if by_class:
        print_rich(class_table(rows))
