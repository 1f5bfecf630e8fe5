"""What both indicators of energy share: windows of seconds between two readings of a meter."""

from __future__ import annotations

from typing import Any, ClassVar

from paretovit.cost.indicators import Indicator
from paretovit.cost.power import meter
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable

_WINDOW_S = 2.0  # counters are brought up to date every millisecond (RAPL) to every 100 ms (NVML)


class EnergyOfCalls(Indicator):
    """Joules per 1,000 images, in three fresh processes, with all that the meter covers: idle power, and whatever else
    runs there. The meter and what was stated are conditions of the row."""

    kind = "once"
    batch = "asked"
    processes = 3
    only_if_named = True
    assumes = ("watts",)
    training: ClassVar[bool] = False

    def assumptions(self, setting: Setting) -> tuple[tuple[str, Any], ...]:
        try:
            source = meter(setting).source
        except Unmeasurable:
            return super().assumptions(setting)  # its row will say why
        return (("energy", source), *super().assumptions(setting))

    def __call__(self, subject: Subject) -> list[float]:
        reading = meter(subject.setting, subject.clock)
        batch = subject.setting.batch_size
        session = subject.session(batch, training=self.training)
        subject.warm_up(batch, training=self.training)
        calls, start, before = 0, subject.clock(), reading.joules()
        while subject.clock() - start < _WINDOW_S:
            session()
            calls += 1
        session.synchronize()
        return [1000 * (reading.joules() - before) / (calls * batch)]
