"""Peak memory of training."""

from __future__ import annotations

from paretovit.cost.indicators import Indicator
from paretovit.cost.subject import Subject


class PeakBytesTrain(Indicator):
    """Most bytes that live at once in a training step: weights, gradients, AdamW's two moments, the batch and all
    that is kept for the backward pass.

    On CUDA the allocator's peak; on the CPU the live bytes of torch's allocator, traced.
    """

    title = "peak memory, training"
    unit = "B"
    kind = "once"
    batch = "asked"

    def __call__(self, subject: Subject) -> list[float]:
        return [float(subject.session(subject.setting.batch_size, training=True).peak_bytes())]
