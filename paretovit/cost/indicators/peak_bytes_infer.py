"""Peak memory of inference."""

from __future__ import annotations

from paretovit.cost.indicators import Indicator
from paretovit.cost.subject import Subject


class PeakBytesInfer(Indicator):
    """Most bytes that live at once while a batch is inferred: weights, buffers, the batch and what is made of it.

    On CUDA the allocator's peak; on the CPU the live bytes of torch's allocator, traced.
    """

    title = "peak memory, inference"
    unit = "B"
    kind = "once"
    batch = "asked"

    def __call__(self, subject: Subject) -> list[float]:
        return [float(subject.session(subject.setting.batch_size).peak_bytes())]
