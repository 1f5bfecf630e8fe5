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
    print_json,
    print_rich,
)


@app.command()
def compare(
    names: Models,
    match: Annotated[
        str | None,
        typer.Option("--match", help="Resize the first model until this cost equals that of each other one."),
    ] = None,
    way: Annotated[
        list[str] | None, typer.Option("--by", help="width, depth, patch or resolution; all four by default.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="With the columns that others published, of an import.")
    ] = False,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Images per call for peaks of memory.")] = 8,
    device: Device = "cpu",
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Models side by side: all that the store has and all counts, with contradictions; equally dear with --match."""
    from paretovit import papers
    from paretovit.report.compare import comparison, contradiction_lines, pair_lines

    specs, rows = chosen_specs(names, img_size, in_chans, num_classes), papers.stored_rows(store, default=STORE)
    from paretovit.cost.count import count
    from paretovit.optimize.match import match_all
    from paretovit.report.tables import rows_table

    groups = match_all(specs, match, ways=way, batch_size=batch_size, device=device, progress=measuring)
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
