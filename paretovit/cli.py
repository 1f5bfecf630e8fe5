"""Names in, one call, print; no logic. Heavy libraries are loaded by the command that needs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretovit.errors import UserError

if TYPE_CHECKING:
    from paretovit.cost.measure import Progress
    from paretovit.measurement import Measurement
    from paretovit.spec import ModelSpec
    from paretovit.store import Store

# typer brings a click of its own from some version on, so the class is taken from where typer has it
_UsageError = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

STORE = os.environ.get("PARETOVIT_STORE", "paretovit.sqlite")

app = typer.Typer(
    name="paretovit",
    help="Which vision transformer should run on this device, under this budget? Answered by measurement.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
store_app = typer.Typer(
    help="Rows as JSON lines, out of a store and into one.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(store_app, name="store")

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Catalog names, wildcards, timm names, checkpoint folders, module:callable."
    ),
]
ImgSize = Annotated[int | None, typer.Option("--img-size", help="Image side in pixels; the model's own by default.")]
InChans = Annotated[int | None, typer.Option("--in-chans", help="Channels of an image.")]
NumClasses = Annotated[int | None, typer.Option("--num-classes", help="Classes of the head.")]
StoreUrl = Annotated[
    str, typer.Option("--store", help="File or database URL of the rows; $PARETOVIT_STORE sets the default.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
DataName = Annotated[
    str, typer.Option("--data", help="digits, hfds/PATH, torch/NAME, fake, or a folder of train/ and val/.")
]


@app.command()
def models(
    family: Annotated[str | None, typer.Option("--family", help="Only this class of the taxonomy.")] = None,
    as_json: Json = False,
) -> None:
    """The catalog: taxonomy, paper, published numbers."""
    from paretovit.report.tables import catalog_table
    from paretovit.zoo.catalog import family_entries

    entries = family_entries(family)
    if as_json:
        _print_json([entry.to_json() for entry in entries])
    else:
        _print(catalog_table(entries))


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

    _show(run(_specs(names, img_size, in_chans, num_classes), batch_size=batch_size if memory else None), as_json)


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
    dtype: Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")] = "float32",
    rounds: Annotated[
        int, typer.Option("--rounds", help="Visits to every model; more give narrower intervals.", min=3)
    ] = 15,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds after which a silent process is ended.", min=1)
    ] = 300,
    patience: Annotated[float, typer.Option("--patience", help="Seconds to wait for a quiet machine.", min=0)] = 20,
    again: Annotated[bool, typer.Option("--again", help="Measure what the store has, too.")] = False,
    img_size: ImgSize = None,
    in_chans: InChans = None,
    num_classes: NumClasses = None,
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Time, memory and counts on this machine, with their spread; only what the store does not have yet."""
    from paretovit.cost.folders import INDICATORS, RUNTIMES

    for folder, asked in ((RUNTIMES, runtime), (INDICATORS, indicator)):
        for name in asked or []:
            folder.fact(name, "title")  # an unknown name is said before anything is loaded
    specs = _specs(names, img_size, in_chans, num_classes)
    with _store(store) as rows:
        from paretovit.cost.measure import Care
        from paretovit.cost.measure import measure as run

        with _progress() as progress:
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
            )
        keys = {spec.key for spec in specs}
        _show([row for row in rows.rows() if row.conditions.spec in keys and row.origin.how != "trained"], as_json)


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    data: DataName,
    recipe: Annotated[str, typer.Option("--recipe", help="A named recipe.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the checkpoint; runs/MODEL by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in the folder.")] = True,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Short for --set lr=X.")] = None,
    device: Device = "cpu",
    store: StoreUrl = STORE,
    as_json: Json = False,
) -> None:
    """Train a model; its accuracy and what it cost become rows. An interrupted run goes on where it was."""
    from paretovit.training.recipe import named_recipe, with_changes

    changes = [
        *(set_ or []),
        *([f"epochs={epochs}"] if epochs is not None else []),
        *([f"lr={lr}"] if lr is not None else []),
    ]
    chosen = with_changes(named_recipe(recipe), changes)
    spec, images = _for_data(name, data)
    from paretovit.training.loop import train as run
    from paretovit.training.progress import progress_bar

    with _store(store) as rows:
        with progress_bar(spec.name) as watch:
            result = run(
                spec,
                images,
                chosen,
                out=out or Path("runs", name.replace("/", "_")),
                resume=resume,
                device=device,
                progress=watch,
            )
        rows.append([row for row in result.rows if not rows.has(row.conditions, row.indicator)], [spec])
    _show(result.rows, as_json)
    typer.echo(f"checkpoint: {result.checkpoint}", err=True)


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT|MODEL")],
    data: DataName,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="With timm's weights, where it has them.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Accuracy of a checkpoint, or of a pretrained model, on a data set."""
    spec, images = _for_data(name, data)
    if not pretrained and not Path(name, "spec.json").is_file():
        raise UserError(f"{name} has no trained weights; give a checkpoint folder, or --pretrained")
    from paretovit.training.evaluate import evaluate as run
    from paretovit.training.loop import how_trained
    from paretovit.zoo.build import build

    module = build(
        name, img_size=spec.image_px, in_chans=spec.in_chans, num_classes=spec.num_classes, pretrained=pretrained
    )
    recipe, seed = how_trained(Path(name))
    _show(run(spec, module.to(device).eval(), images.val, recipe=recipe, seed=seed, device=device), as_json)


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="Folder of the page and its figures.")] = Path("report"),
    store: StoreUrl = STORE,
) -> None:
    """The whole page from the rows of a store, and its figures as SVG and PNG."""
    with _store(store, create=False) as rows:
        from paretovit.papers import claims
        from paretovit.report.page import write

        paths = write(rows, out, claims(rows.rows()))
    typer.echo(f"{paths[0]} and {len(paths) - 1} figures")


@app.command()
def reproduce(
    paper: Annotated[
        str | None, typer.Argument(metavar="[PAPER]", help="Such as hybrid-xformers; all papers by default.")
    ] = None,
    table: Annotated[int | None, typer.Option("--table", help="Only the table of this number.")] = None,
    store: StoreUrl = STORE,
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="JSON lines of more rows; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The tables of a paper, cell by cell: printed, ours, and whether they agree or why not."""
    from paretovit import papers

    rows = papers.stored_rows(store, results or (), default=STORE)
    cells = [cell for name in ([paper] if paper else papers.names()) for cell in papers.reproduce(name, table, rows)]
    if as_json:
        _print_json([asdict(cell) for cell in cells])
        return
    from paretovit.report.tables import table as drawn

    typer.echo(papers.heading(cells))
    for sheet in papers.sheets(cells):
        typer.echo()
        _print(drawn(sheet.lines, sheet.columns, sheet.title))
        typer.echo(sheet.notes)
    typer.echo("\n" + "\n".join(papers.summary(cells)))
    for sheet in papers.claim_sheets(papers.claims(rows, paper) if table is None else []):
        typer.echo()
        _print(drawn(sheet.lines, sheet.columns, sheet.title))
        typer.echo(sheet.notes)


@store_app.command("export")
def store_export(path: Path, store: StoreUrl = STORE) -> None:
    """All specs and rows of a store as JSON lines."""
    with _store(store, create=False) as rows:
        rows.export_lines(path)


@store_app.command("import")
def store_import(path: Path, store: StoreUrl = STORE) -> None:
    """JSON lines into a store; what it has already is not doubled."""
    with _store(store) as rows:
        typer.echo(f"{rows.import_lines(path)} new lines")


def main() -> None:
    """The console command. Exit code 2 and one line for bad input, 130 for Ctrl-C, 1 for a failure of ours."""
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except typer.Exit as end:
        code = end.exit_code
    except _UsageError as error:  # type: ignore[misc]  # found at run time
        no_words = type(error).__name__ == "NoArgsIsHelpError"
        message = error.format_message()
        typer.echo(message if no_words else f"paretovit: {message.rstrip('.')}; see --help", err=True)
        code = 2
    except UserError as error:
        typer.echo(f"paretovit: {error}", err=True)
        code = 2
    except (KeyboardInterrupt, typer.Abort) as error:
        typer.echo(f"\nparetovit: {error or 'stopped; what was measured is kept, the same command goes on'}", err=True)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` is no error
    sys.exit(code)


def _specs(names: list[str], img_size: int | None, in_chans: int | None, num_classes: int | None) -> list[ModelSpec]:
    from paretovit.zoo.catalog import expand, resolve

    found = expand(names)
    return [resolve(name, img_size=img_size, in_chans=in_chans, num_classes=num_classes) for name in found]


def _for_data(name: str, data: str) -> tuple[ModelSpec, Any]:
    """The model as the data want it: their channels and classes; their size must be the model's, or is made so."""
    from paretovit.zoo.catalog import resolve

    spec = resolve(name)
    from paretovit.training.data import open_data

    images = open_data(data)
    own = images.val
    if Path(name, "spec.json").is_file():
        return spec, open_data(data, img_size=spec.image_px, in_chans=spec.in_chans)
    if own.image_px != spec.image_px:
        images = open_data(data, img_size=spec.image_px)
        own = images.val
    return resolve(name, in_chans=own.in_chans, num_classes=own.num_classes), images


def _store(url: str, *, create: bool = True) -> Store:
    from paretovit.store import Store

    return Store(url, create=create)


@contextmanager
def _progress() -> Iterator[Progress]:
    from paretovit.report.progress import MeasureProgress

    with MeasureProgress() as progress:
        yield progress


def _show(rows: list[Measurement], as_json: bool) -> None:
    if as_json:
        _print_json([row.to_json() for row in rows])
        return
    from paretovit.report.tables import rows_table

    _print(rows_table(rows))


def _print(content: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    console.print(content)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
