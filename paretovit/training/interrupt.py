"""Being asked to stop, between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a scheduler's SIGTERM has come: the step that it came in is finished first, for half a step's
    weights are of no use. A second Ctrl-C ends at once. A signal that nobody asked about before the end is raised again
    for whoever handled it before, so that it stops what comes after. Outside the main thread signals are left alone.
    """
    came: int | None = None
    heard = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came is not None:
            raise KeyboardInterrupt
        came = number

    def asked() -> bool:
        nonlocal heard
        heard = came is not None
        return heard

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came is not None and not heard:
        signal.raise_signal(came)
