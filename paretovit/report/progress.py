"""How far a measuring run is, for whoever watches it."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from paretovit.cost.measure import Progress as Steps


class MeasureProgress(Steps):
    """A bar on standard error. It is drawn only between visits, so that drawing takes no time from a measured model."""

    def __init__(self) -> None:
        super().__init__()
        columns = (
            TextColumn("measuring"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._bar.add_task("starting", total=None)

    def step(self, text: str, steps: int = 1) -> None:
        super().step(text, steps)
        self._bar.update(self._task, description=text, completed=self.done, total=self.total, refresh=True)

    def __enter__(self) -> MeasureProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
