"""Images per second at the best batch size."""

from __future__ import annotations

from typing import Any

from paretovit.cost.indicators import Timed
from paretovit.cost.subject import Setting, Subject


class ImagesPerS(Timed):
    """Images per second at the batch size where most are done, which is searched for.

    The curve over batch sizes is kept with the row; a limit of the search that was asked for is a condition.
    """

    title = "throughput"
    unit = "1/s"
    lower_is_better = False
    kind = "timed"
    batch = "best"

    def batch_size(self, subject: Subject) -> int:
        return subject.best_batch_size

    def assumptions(self, setting: Setting) -> tuple[tuple[str, Any], ...]:
        limit = () if setting.max_batch == Setting.max_batch else (("max_batch", setting.max_batch),)
        return (*super().assumptions(setting), *limit)

    def settle(self, subject: Subject, before: dict[str, Any] | None = None) -> dict[str, Any]:
        if before:
            best, curve = before["best_batch_size"], before["curve"]
            subject.best_batch_size = best
        else:
            best, curve = subject.find_best_batch_size()
        return {**super().settle(subject, before), "best_batch_size": best, "curve": curve}

    def of_seconds(self, seconds: float, batch_size: int) -> float:
        return batch_size / seconds
