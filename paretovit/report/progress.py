"""How far a measuring run is, for whoever watches it."""

from __future__ import annotations

from types import TracebackType

from paretovit.cost.measure import Progress
from paretovit.progress import Bar


class MeasureProgress(Progress):
    """A bar on standard error. It is drawn only between visits, so that drawing takes no time from a measured model."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = Bar("measuring", drawn_alone=False)

    def step(self, text: str, steps: int = 1) -> None:
        super().step(text, steps)
        self._bar.update(self.done, self.total, text)

    def __enter__(self) -> MeasureProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, at)
