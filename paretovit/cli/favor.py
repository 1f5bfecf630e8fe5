"""`paretovit favor`: which model to favor under these bounds."""

from __future__ import annotations

from typing import Annotated

import typer

from paretovit.cli.app import STORE, Json, StoreUrl, app, open_store, print_json, print_rich


@app.command()
def favor(
    at_most: Annotated[
        list[str] | None, typer.Option("--max", help="INDICATOR=LIMIT, such as latency_s=20ms; may be repeated.")
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option("--min", help="INDICATOR=LIMIT, such as top1=80%; may be repeated.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="An indicator that counts without a bound; may be repeated.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="Part of a device's name.")] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", help="What executed the models.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Such as float32.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="More conditions, as FIELD=TEXT or INDICATOR.FIELD=TEXT; may be repeated."),
    ] = None,
    epsilon: Annotated[
        float, typer.Option("--epsilon", help="Share by which a model may lie off the front and still be on it.")
    ] = 0.0,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Which model to favor under bounds: who keeps them, who of those is Pareto-optimal, and why not the others."""
    from paretovit.report.favor import answer_heading, answer_lines, answer_reasons, wanted
    from paretovit.report.favor import favor as run
    from paretovit.report.pick import Condition

    bounds = wanted(at_most or (), at_least or ())
    asked = {"device": device, "runtime": runtime, "dtype": dtype}
    conditions = [Condition(field, text) for field, text in asked.items() if text is not None]
    conditions += map(Condition.of, where or ())
    with open_store(store, create=False) as rows:
        answer = run(rows, bounds, where=conditions, by=by or (), epsilon=epsilon)
    if as_json:
        print_json(answer.to_json())
        return
    from paretovit.report.tables import table

    typer.echo(answer_heading(answer))
    if answer.choice.ranked:
        typer.echo()
        print_rich(table(*answer_lines(answer)))
    typer.echo("\n" + "\n".join(answer_reasons(answer)))
