"""`paretovit measure`: what a model costs on this one."""

from __future__ import annotations

from pathlib import Path
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
    measuring,
    open_store,
    show,
)


@app.command()
def measure(
    names: Models,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="What executes the model; may be repeated.")
    ] = None,
    device: Device = "cpu",
    batch_size: Annotated[
        int, typer.Option("-b", "--batch-size", help="Images per training step and for peak memory.")
    ] = 8,
    indicator: Annotated[list[str] | None, typer.Option("--indicator", help="Only these; may be repeated.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads per operator; all cores by default.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help=DTYPE)] = "float32",
    calibration: CalibrationData = None,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Visits to every model; more give narrower intervals.", min=3)
    ] = 15,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds after which a silent process is ended.", min=1)
    ] = 300,
    patience: Annotated[float, typer.Option("--patience", help="Seconds to wait for a quiet machine.", min=0)] = 20,
    assume: Annotated[
        list[str] | None,
        typer.Option("--assume", help="NAME=VALUE: watts, g_per_kwh, usd_per_hour or memory_gb; may be repeated."),
    ] = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", help="Largest batch that the search for the best one tries.", min=1)
    ] = 256,
    artifacts: Annotated[
        Path | None,
        typer.Option("--artifacts", help="Folder where the files that runtimes run are kept and found again."),
    ] = None,
    export_only: Annotated[
        bool, typer.Option("--export-only", help="Fill --artifacts on all cores, and measure nothing yet.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure what the store has, too.")] = False,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Time, memory and counts on this machine, with their spread; only what the store does not have yet."""
    from paretovit.cost.assumptions import pairs
    from paretovit.cost.folders import INDICATORS, RUNTIMES

    for folder, asked in ((RUNTIMES, runtime), (INDICATORS, indicator)):
        for name in asked or []:
            folder.fact(name, "title")  # an unknown name is said before anything is loaded
    stated, images = pairs(assume or ()), calibration_images(calibration)
    specs = chosen_specs(names, img_size, in_chans, num_classes)
    with open_store(store) as rows:
        from paretovit.cost.measure import Care
        from paretovit.cost.measure import measure as run

        with measuring() as progress:
            run(
                specs,
                indicators=indicator,
                runtimes=runtime or ["torch_eager"],
                device=device,
                dtype=dtype,
                threads=threads,
                batch_size=batch_size,
                store=rows,
                again=again,
                care=Care(rounds=rounds, timeout_s=timeout, patience_s=patience),
                progress=progress,
                assume=stated,
                calibration=images,
                max_batch=max_batch,
                artifacts=artifacts,
                export_only=export_only,
            )
        if export_only:
            typer.echo(f"exported into {artifacts}; what measures with the same --artifacts finds it there", err=True)
            return
        if progress.spent is not None:
            typer.echo(str(progress.spent), err=True)
        keys = {spec.key for spec in specs}
        show([row for row in rows.rows() if row.conditions.spec in keys and row.origin.how != "trained"], as_json)
