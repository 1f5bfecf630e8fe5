"""What both indicators of the largest batch share: the search, on predicted memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from paretovit.cost.indicators import Indicator
from paretovit.cost.live_bytes import predicted_peak
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable


class LargestBatch(Indicator):
    """Most images per call whose predicted peak of live tensors fits into a stated memory, by default all that the
    machine has. The next larger batch does not fit. What the process holds beside tensors (some hundred megabytes for
    torch itself) is not in it."""

    lower_is_better = False
    kind = "once"
    how = "predicted"
    only_if_named = True
    assumes = ("memory_gb",)
    training: ClassVar[bool] = False

    def assumptions(self, setting: Setting) -> tuple[tuple[str, Any], ...]:
        return (("memory_gb", dict(setting.assumed).get("memory_gb", memory_gb())),)

    def __call__(self, subject: Subject) -> list[float]:
        setting = subject.setting
        if (setting.runtime, setting.device, setting.dtype) != ("torch_eager", "cpu", "float32"):
            raise Unmeasurable("memory is predicted for torch_eager on a CPU in float32 only")
        ((_, budget),) = self.assumptions(setting)

        def peak(images: int) -> int:
            return predicted_peak(subject.spec, batch_size=images, training=self.training)

        return [float(largest(peak, budget * 1e9))]


def memory_gb() -> float:
    """Of this machine, in GB of 10^9 bytes, to one decimal."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def largest(peak: Callable[[int], int], budget: float) -> int:
    """The batch size that fits while the next does not. Peaks lie nearly on a line, so its place is foretold from two
    points; every other step halves what is left, where they do not. Raises `Unmeasurable` if not one image fits."""
    low, low_peak = 1, peak(1)
    if low_peak > budget:
        raise Unmeasurable(f"one image takes {low_peak / 1e9:.3g} GB, and {budget / 1e9:.3g} GB are there")
    high, high_peak = 2, peak(2)
    while high_peak <= budget:
        slope = max((high_peak - low_peak) / (high - low), 1.0)
        low, low_peak = high, high_peak
        high += max(high, int(1.01 * (budget - low_peak) / slope)) + 1
        high_peak = peak(high)
    halve = False
    while high - low > 1:
        foretold = low + (budget - low_peak) * (high - low) / (high_peak - low_peak)
        middle = (low + high) // 2 if halve else min(max(round(foretold), low + 1), high - 1)
        middle_peak, halve = peak(middle), not halve
        if middle_peak <= budget:
            low, low_peak = middle, middle_peak
        else:
            high, high_peak = middle, middle_peak
    return low
