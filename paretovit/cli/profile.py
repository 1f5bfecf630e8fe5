"""`paretovit profile`: what a model's cost is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
from paretovit.errors import UserError

if TYPE_CHECKING:
    from paretovit.measurement import Measurement


@app.command()
def profile(
    names: Models,
    runtime: Annotated[str, typer.Option("--runtime", help="What executes the model.")] = "torch_eager",
    device: Device = "cpu",
    batch_size: Annotated[
        int | None, typer.Option("-b", "--batch-size", help="Images per call; 1 by default, of a training step 8.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads per operator; all cores by default.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help=DTYPE)] = "float32",
    calibration: CalibrationData = None,
    calls: Annotated[int, typer.Option("--calls", help="Calls that are traced.", min=1)] = 11,
    training: Annotated[
        bool, typer.Option("--training", help="A training step: its phases, and the operators in each.")
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="With --training: the steps of `paretovit train` on these data.")
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="With --data: a named recipe.")] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="With --data: field=value of the recipe; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="With --data: processes that prepare images.")] = 0,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Cost by operator group and by layer: time, measured; multiply-accumulates, bytes and parameters, counted. With
    --training the time of a training step, by phase, operator group and layer."""
    from paretovit.cost.folders import RUNTIMES

    RUNTIMES.fact(runtime, "title")  # an unknown name is said before anything is loaded
    if data is None and (recipe != "demo" or set_ or workers):
        raise UserError("--recipe, --set and --workers are for the steps of a training; give --training --data DATA")
    if data is not None:
        if not training:
            raise UserError("--data is for the steps of a training; give --training, too")
        if (runtime, dtype, batch_size, in_chans, num_classes, calibration) != (
            "torch_eager", "float32", None, None, None, None,
        ):  # fmt: skip
            raise UserError(
                "with --data the recipe and the data say how it is trained; leave out --runtime, --dtype, "
                "--batch-size, --in-chans, --num-classes and --calibration, and give --set batch_size=N or "
                "--set amp_dtype=bfloat16"
            )
    with open_store(store) as kept:
        if data is not None:
            told = {"calls": calls, "store": kept}
            rows = _of_trainings(names, data, img_size, recipe, set_ or [], device, threads, workers, told)
        else:
            specs = chosen_specs(names, img_size, in_chans, num_classes)
            from paretovit.cost.profile import profile as run

            rows = run(
                specs,
                runtime=runtime,
                device=device,
                dtype=dtype,
                threads=threads,
                batch_size=batch_size if batch_size is not None else 8 if training else 1,
                calls=calls,
                training=training,
                store=kept,
                calibration=calibration_images(calibration),
            )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        from paretovit.report.breakdown import breakdown_tables

        print_rich(breakdown_tables(rows))


def _of_trainings(
    names: list[str],
    data: str,
    img_size: Any,
    recipe: str,
    changes: list[str],
    device: str,
    threads: int | None,
    workers: int,
    told: dict[str, Any],
) -> list[Measurement]:
    """The steps of the training loop, lent to what takes steps apart."""
    from paretovit.training.recipe import named_recipe, with_changes

    chosen = with_changes(named_recipe(recipe), changes)
    from paretovit.cost.profile import profile_step
    from paretovit.devices import num_threads
    from paretovit.training.loop import Execution, Steps
    from paretovit.training.start import start
    from paretovit.zoo.catalog import expand

    rows = []
    for name in expand(names):
        begun = start(name, data, img_size=img_size)
        steps = Steps(
            begun.spec,
            begun.data,
            chosen,
            device=device,
            threads=num_threads() if threads is None else threads,
            begin=begun.begin,
            execution=Execution(workers=workers),
        )
        rows += profile_step(begun.spec, steps, steps.conditions, **told)
    return rows
