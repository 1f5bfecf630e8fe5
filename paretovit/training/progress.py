"""How far a training is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tick:
    """After a step: steps are counted through all epochs, `done` of `total`; `top1` is that of the epoch before."""

    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    images_per_s: float
    top1: float | None


Watch = Callable[[Tick], None]


def silent(tick: Tick) -> None:
    """Nobody watches."""


@contextmanager
def progress_bar(title: str) -> Iterator[Watch]:
    """A bar on standard error with epoch, loss, accuracy, images per second and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # a bar that moves would leave empty lines in a file
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, facts="")

        def watch(tick: Tick) -> None:
            top1 = "" if tick.top1 is None else f"  top1 {tick.top1:.1%}"
            facts = f"epoch {tick.epoch}/{tick.epochs}  loss {tick.loss:.3f}{top1}  {tick.images_per_s:,.0f} images/s"
            bar.update(task, completed=tick.done, total=tick.total, facts=facts)

        yield watch
