"""`paretovit profile`: what a model's cost is made of."""

from __future__ import annotations

from typing import Annotated

import typer

from paretovit.cli.app import (
    DTYPE,
    STORE,
    CalibrationData,
    Device,
    ImgSize,
    InChans,
    Json,
    Models,
    NumClasses,
    StoreUrl,
    app,
    calibration_images,
    chosen_specs,
    open_store,
    print_json,
    print_rich,
)


@app.command()
def profile(
    names: Models,
    runtime: Annotated[str, typer.Option("--runtime", help="What executes the model.")] = "torch_eager",
    device: Device = "cpu",
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per call.")] = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads per operator; all cores by default.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help=DTYPE)] = "float32",
    calibration: CalibrationData = None,
    calls: Annotated[int, typer.Option("--calls", help="Calls that are traced.", min=1)] = 11,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Cost by operator group and by layer: time, measured; multiply-accumulates and bytes, counted."""
    from paretovit.cost.folders import RUNTIMES

    RUNTIMES.fact(runtime, "title")  # an unknown name is said before anything is loaded
    specs = chosen_specs(names, img_size, in_chans, num_classes)
    with open_store(store) as kept:
        from paretovit.cost.profile import profile as run
        from paretovit.report.breakdown import breakdown_tables

        rows = run(
            specs,
            runtime=runtime,
            device=device,
            dtype=dtype,
            threads=threads,
            batch_size=batch_size,
            calls=calls,
            store=kept,
            calibration=calibration_images(calibration),
        )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_rich(breakdown_tables(rows))
