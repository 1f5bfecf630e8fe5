"""Seconds of one training step."""

from __future__ import annotations

from paretovit.cost.indicators import Timed
from paretovit.cost.subject import Subject


class TrainStepS(Timed):
    """Seconds of forward, backward and optimizer step (AdamW) on one batch, median of the repeats."""

    title = "training step"
    unit = "s"
    kind = "timed"
    batch = "asked"
    training = True

    def batch_size(self, subject: Subject) -> int:
        return subject.setting.batch_size
