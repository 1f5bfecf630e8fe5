"""How far long work is, on standard error: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console

EVERY_S = 60.0  # between two lines where nobody sees a bar


class Bar:
    """A bar with what is told beside it and the time left; where standard error is no terminal, a line each minute.

    drawn_alone   False to draw only when told, so that drawing takes no time from what runs between two tellings
    console       for tests
    """

    def __init__(self, title: str, *, drawn_alone: bool = True, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        self._console = console or Console(stderr=True)
        self._lines = not self._console.is_terminal  # a bar that moves would leave empty lines in a file
        self._title, self._drawn_alone = title, drawn_alone
        self._bar = Progress(
            *columns, console=self._console, transient=True, auto_refresh=drawn_alone, disable=self._lines
        )
        self._task = self._bar.add_task(title, total=None, facts="")
        self._begin = self._told = time.monotonic()

    def update(self, done: int, total: int, facts: str) -> None:
        self._bar.update(self._task, completed=done, total=total, facts=facts, refresh=not self._drawn_alone)
        now = time.monotonic()
        if self._lines and done and now - self._told >= EVERY_S:
            self._told = now
            left = (now - self._begin) * (total - done) / done
            text = f"{self._title}: {done} of {total}, about {max(left / 60, 1):.0f} min left; {facts}"
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
