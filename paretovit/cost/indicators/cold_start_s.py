"""Seconds from a file to the first answer."""

from __future__ import annotations

from typing import Any

from paretovit.cost.indicators import Fresh
from paretovit.cost.subject import Subject


class ColdStartS(Fresh):
    """Seconds from the file that `export` wrote to the answer for one image, in a fresh process; median of three.

    The libraries are loaded and the file has just been written or read, so neither is in it. Whatever the runtime
    compiles when it loads the file or is first called is in it, and nothing compiled before is found again.
    """

    title = "cold start"
    unit = "s"
    kind = "once"
    batch = "one"
    processes = 3

    def settle(self, subject: Subject, before: dict[str, Any] | None = None) -> dict[str, Any]:
        subject.artifact(1)
        return {}

    def __call__(self, subject: Subject) -> list[float]:
        path, batch = subject.artifact(1), subject.batch(1)
        start = subject.clock()
        session = subject.runtime.load(path, batch)
        session()
        session.synchronize()
        return [subject.clock() - start]
