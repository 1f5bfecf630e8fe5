"""`paretovit count`: what a model costs on any machine."""

from __future__ import annotations

from typing import Annotated

import typer

from paretovit.cli.app import ImgSize, InChans, Json, Models, NumClasses, app, chosen_specs, show


@app.command()
def count(
    names: Models,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Predict the peaks of memory of inference and training, too.")
    ] = False,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per call, for --memory.")] = 8,
    as_json: Json = False,
) -> None:
    """Static indicators: parameters, multiply-accumulates, activations and more; no weights are allocated."""
    from paretovit.cost.count import count as run

    show(run(chosen_specs(names, img_size, in_chans, num_classes), batch_size=batch_size if memory else None), as_json)
