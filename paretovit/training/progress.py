"""How far a training is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from paretovit.progress import Bar


@dataclass(frozen=True, kw_only=True)
class Tick:
    """After a step: steps are counted through all epochs, `done` of `total`; `score` is that of the epoch
    before, in the indicator `quality`."""

    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    images_per_s: float
    score: float | None
    quality: str


Watch = Callable[[Tick], None]


def silent(tick: Tick) -> None:
    """Nobody watches."""


@contextmanager
def progress_bar(title: str) -> Iterator[Watch]:
    """A bar on standard error with epoch, loss, accuracy, images per second and time left."""
    with Bar(title) as bar:

        def watch(tick: Tick) -> None:
            score = "" if tick.score is None else f"  {tick.quality} {tick.score:.1%}"
            facts = f"epoch {tick.epoch}/{tick.epochs}  loss {tick.loss:.3f}{score}  {tick.images_per_s:,.0f} images/s"
            bar.update(tick.done, tick.total, facts)

        yield watch
