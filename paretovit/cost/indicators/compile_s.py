"""Seconds from a module to what the runtime runs."""

from __future__ import annotations

from paretovit.cost.indicators import Fresh
from paretovit.cost.subject import Subject
from paretovit.errors import Unmeasurable


class CompileS(Fresh):
    """Seconds that exporting, converting and compiling a module for one image add to a call of it.

    From the module in memory to the first answer, less the fastest of the five calls after it. In a fresh process,
    with its libraries loaded; nothing compiled before is found again.
    """

    title = "compile time"
    unit = "s"
    kind = "once"
    batch = "one"

    def __call__(self, subject: Subject) -> list[float]:
        module, batch = subject.module.eval(), subject.batch(1)
        start = subject.clock()
        session = subject.runtime.prepare(module, batch)
        subject.call_s(session)
        first = subject.clock() - start
        steady = min(subject.call_s(session) for _ in range(5))
        if first <= steady:
            raise Unmeasurable("the first call took no longer than those after it: there is nothing to compile")
        return [first - steady]
