"""`paretovit export`: a model as the file that a runtime runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretovit.cli.app import DTYPE, CalibrationData, ImgSize, InChans, NumClasses, app, calibration_images


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="MODEL|CHECKPOINT")],
    runtime: Annotated[str, typer.Option("--runtime", help="What is to run the file.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; one of that name is replaced.")],
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per call, which is fixed.", min=1)] = 1,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="With timm's weights, where it has them.")] = False,
    dtype: Annotated[str, typer.Option("--dtype", help=DTYPE)] = "float32",
    calibration: CalibrationData = None,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
) -> None:
    """The file that a runtime runs, checked against the model's own logits before it is given its name."""
    from paretovit.cost.folders import RUNTIMES
    from paretovit.zoo.catalog import resolve

    RUNTIMES.summary(runtime)  # an unknown name is said before anything is loaded
    spec = resolve(name, img_size=img_size, in_chans=in_chans, num_classes=num_classes)
    from paretovit.cost.export import export as run
    from paretovit.zoo.build import build

    module = build(
        name, img_size=spec.image_px, in_chans=spec.in_chans, num_classes=spec.num_classes, pretrained=pretrained
    )
    shape = spec.input_shape
    source = calibration_images(calibration)
    images = None if source is None else source(spec)
    made = run(module, shape, out, runtime=runtime, batch_size=batch_size, dtype=dtype, images=images)
    trained = pretrained or Path(name, "spec.json").is_file()
    typer.echo(
        f"{made.path}: {made.nbytes / 1e6:.2f} MB, {batch_size} x {' x '.join(map(str, shape))}, "
        f"{dtype}, at most {made.deviation:.1e} from the model's own logits{'' if trained else '; weights are random'}"
    )
