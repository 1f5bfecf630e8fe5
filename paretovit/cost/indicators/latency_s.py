"""Seconds for one image."""

from __future__ import annotations

from paretovit.cost.indicators import Timed
from paretovit.cost.subject import Subject


class LatencyS(Timed):
    """Seconds for one image, median of the repeats."""

    title = "latency"
    unit = "s"
    kind = "timed"
    batch = "one"

    def batch_size(self, subject: Subject) -> int:
        return 1
