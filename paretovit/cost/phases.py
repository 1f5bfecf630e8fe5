"""What a training step says of itself while it runs, and what each of its phases takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from torch import nn

Phase = Callable[[str], AbstractContextManager[object]]

OTHER = "other"  # what lies in no phase


class PhasedStep(Protocol):
    """A training step that can be asked to tell its phases: it then works inside `with phase("backward"): ...`.

    A phase is one word. One may lie in another, whose time its own is then no part of. The phase in which `model`
    is called is "forward", that in which autograd runs "backward".
    """

    @property
    def model(self) -> nn.Module:
        """What is trained; its operators are told by its modules."""

    @property
    def cuda(self) -> bool:
        """Whether it runs on a GPU."""

    def step(self, phase: Phase) -> object:
        """One step; `phase` is called with the name of each phase."""

    def synchronize(self) -> None:
        """Returns when all that was called is done."""


def phase_seconds(training: PhasedStep, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Wall seconds of each phase of one step, in the order in which they end for good, `OTHER` last. They add to the
    seconds of the step: one clock is read wherever a phase begins or ends."""
    took: dict[str, float] = {}
    under_way = [OTHER]
    since = clock()

    def turn() -> None:
        """What has passed belongs to the innermost phase."""
        nonlocal since
        training.synchronize()
        now = clock()
        took[under_way[-1]] = took.get(under_way[-1], 0.0) + now - since
        since = now

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        turn()
        under_way.append(name)
        try:
            yield
        finally:
            turn()
            under_way.pop()
            took[name] = took.pop(name)

    training.step(phase)
    turn()
    return took | {OTHER: took.pop(OTHER)}
