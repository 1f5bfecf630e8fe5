"""`paretovit compare`: models side by side, by every indicator."""

from __future__ import annotations

from typing import Annotated

import typer

from paretovit.cli.app import (
    STORE,
    Device,
    ImgSize,
    InChans,
    Json,
    Models,
    NumClasses,
    StoreUrl,
    app,
    chosen_specs,
    measuring,
    open_store,
    print_json,
    print_rich,
)


@app.command()
def compare(
    names: Models,
    match: Annotated[
        str | None,
        typer.Option(
            "--match",
            help="Resize the first model until this cost equals that of each other one: params, macs, latency_s, "
            "images_per_s, peak_bytes, ...",
        ),
    ] = None,
    way: Annotated[
        list[str] | None, typer.Option("--by", help="width, depth, patch or resolution; all four by default.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--measure", help="With --match: this, too, of the models made equally dear; may be repeated."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="With the columns that others published, of an import.")
    ] = False,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per call for peaks of memory.")] = 8,
    runtime: Annotated[str, typer.Option("--runtime", help="Where a time or a rate is measured.")] = "torch_eager",
    threads: Annotated[int | None, typer.Option("--threads", help="Of what is measured; all cores by default.")] = None,
    device: Device = "cpu",
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Models side by side: all that the store has and all counts, with contradictions; equally dear with --match.

    What --match measures goes into the store, so that the same command goes on where it was stopped.
    """
    from paretovit import papers
    from paretovit.report.compare import comparison, contradiction_lines, pair_lines

    specs = chosen_specs(names, img_size, in_chans, num_classes)
    from paretovit.cost.count import count
    from paretovit.optimize.match import match_all, measures
    from paretovit.report.tables import rows_table

    with open_store(store if measures(match, also or ()) else "sqlite://") as kept:
        rows = papers.stored_rows(store, default=STORE)
        groups = match_all(
            specs,
            match,
            ways=way,
            also=also or (),
            store=kept,
            runtime=runtime,
            device=device,
            threads=threads,
            batch_size=batch_size,
            progress=measuring,
        )
    made = comparison(specs, count(specs, batch_size=batch_size), rows, published=published)
    equal = [comparison(group.specs, group.rows) for group in groups]
    if as_json:
        matches = [group.to_json() | one.to_json() for group, one in zip(groups, equal, strict=True)]
        print_json(made.to_json() | {"matches": matches})
        return
    print_rich(rows_table(made.rows))
    typer.echo("\n".join(["", *pair_lines(made), "", *contradiction_lines(made)]))
    for group, one in zip(groups, equal, strict=True):
        typer.echo("\n".join(["", *group.lines(), ""]))
        print_rich(rows_table(one.rows))
        typer.echo("\n".join(["", *pair_lines(one)]))
