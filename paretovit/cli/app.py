"""What the commands share: options that mean the same everywhere, a model's name made a spec, rows printed."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from paretovit.errors import UserError
from paretovit.spec import Pixels, pixels

if TYPE_CHECKING:
    from paretovit.cost.measure import Progress
    from paretovit.cost.subject import Calibration
    from paretovit.measurement import Measurement
    from paretovit.spec import ModelSpec
    from paretovit.store import Store
    from paretovit.training.loop import TrainResult

STORE = os.environ.get("PARETOVIT_STORE", "paretovit.sqlite")


class Stopped(Exception):
    """Ctrl-C in a command. The message says what is kept, if the command has something to say of it."""


class _Commands(TyperGroup):
    """Commands whose last words on Ctrl-C are heard: some versions of typer end without a line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(str(stop)) from None


app = typer.Typer(
    name="paretovit",
    cls=_Commands,
    help="Which vision transformer should run on this device, under this budget? Answered by measurement.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Catalog names, wildcards, timm names, checkpoint folders, module:callable."
    ),
]


def _pixels(text: str) -> Pixels:
    try:
        return pixels(text)
    except UserError as error:
        raise typer.BadParameter(str(error)) from error


ImgSize = Annotated[
    Any,
    typer.Option(
        "--img-size",
        parser=_pixels,
        metavar="PX",
        help="Image side in pixels, or rows x columns as 224x320; the model's own by default.",
    ),
]
InChans = Annotated[int | None, typer.Option("--in-chans", help="Channels of an image.")]
NumClasses = Annotated[int | None, typer.Option("--num-classes", help="Classes of the head.")]
StoreUrl = Annotated[
    str, typer.Option("--store", help="File or database URL of the rows; $PARETOVIT_STORE sets the default.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
DataName = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, hfds/PATH, torch/NAME, fake, a folder of train/ and val/; clips: videos/PATH, moving/DATA.",
    ),
]

CalibrationData = Annotated[
    str | None, typer.Option("--calibration", help="DATA whose images int8 takes its scales from: digits, hfds/PATH.")
]
DTYPE = "float32, bfloat16, float16, or int8 with --calibration."


def chosen_specs(
    names: list[str], img_size: Pixels | None, in_chans: int | None, num_classes: int | None
) -> list[ModelSpec]:
    from paretovit.zoo.catalog import expand, resolve

    found = expand(names)
    return [resolve(name, img_size=img_size, in_chans=in_chans, num_classes=num_classes) for name in found]


def for_data(name: str, data: str) -> tuple[ModelSpec, Any]:
    """The model as the data want it: their channels and classes; their size must be the model's, or is made so."""
    from paretovit.zoo.catalog import resolve

    spec = resolve(name)
    from paretovit.training.data import open_data

    images = open_data(data)
    own = images.val
    if Path(name, "spec.json").is_file():
        return spec, open_data(data, img_size=spec.square_px, in_chans=spec.in_chans)
    if own.image_px != spec.image_px:
        images = open_data(data, img_size=spec.square_px)
        own = images.val
    return resolve(name, in_chans=own.in_chans, num_classes=own.num_classes), images


def calibration_images(data: str | None) -> Calibration | None:
    """What `--calibration` names."""
    if data is None:
        return None
    from paretovit.training.calibration import CalibrationImages

    return CalibrationImages(data)


def open_store(url: str, *, create: bool = True) -> Store:
    from paretovit.store import Store

    return Store(url, create=create)


@contextmanager
def resumable() -> Iterator[None]:
    """A run that is stopped in here says what is kept, and the command that goes on with it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        words = ["paretovit", *(word for word in sys.argv[1:] if word != "--no-resume")]
        typer.echo(f"\n{stop}:\n{shlex.join(words)}", err=True)
        raise typer.Exit(0) from None


def show_trained(result: TrainResult, spec: ModelSpec, rows: Store, as_json: bool) -> None:
    """Keep and print what came of a training; of several processes one does."""
    if not result.is_first:
        return
    rows.append([row for row in result.rows if not rows.has(row.conditions, row.indicator)], [spec])
    show(result.rows, as_json)
    typer.echo(f"checkpoint: {result.checkpoint}", err=True)


@contextmanager
def measuring() -> Iterator[Progress]:
    from paretovit.report.progress import MeasureProgress

    with MeasureProgress() as progress:
        yield progress


def show(rows: list[Measurement], as_json: bool) -> None:
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    from paretovit.report.tables import rows_table

    print_rich(rows_table(rows))


def print_rich(content: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    console.print(content)


def print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
