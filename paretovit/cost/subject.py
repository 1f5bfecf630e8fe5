"""What an indicator measures: one model under one setting, with the sessions it needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from paretovit.cost.counting import Count, count
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.runtimes import Session
from paretovit.errors import Unmeasurable
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How models are run.

    batch_size   images per call where an indicator does not fix or find it
    max_batch    largest batch size that the search for the best one tries
    visit_s      seconds that one visit to a model should take
    """

    runtime: str = "torch_eager"
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    batch_size: int = 8
    max_batch: int = 256
    visit_s: float = 0.15


class Subject:
    """One model under one setting. Holds one session at a time, so that sessions do not add up in memory."""

    def __init__(self, spec: ModelSpec, setting: Setting, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.spec, self.setting, self.clock = spec, setting, clock
        self._session: tuple[tuple[int, bool], Session] | None = None
        self.repeats = 1  # calls of a visit, until a warm-up says how many
        self.best_batch_size = 1  # until it is searched for

    @cached_property
    def count(self) -> Count:
        """The operator counter's totals for one image."""
        px = self.spec.image_px
        return count(lambda: build(self.spec, device="meta"), (1, self.spec.in_chans, px, px))

    @cached_property
    def module(self) -> nn.Module:
        torch.manual_seed(0)  # the values do not matter for a cost, but the same ones make the same run
        return build(self.spec).to(self.setting.device, getattr(torch, self.setting.dtype))

    def session(self, batch_size: int, *, training: bool = False) -> Session:
        """The model made ready for batches of that size, or its training step on them."""
        wanted = (batch_size, training)
        if self._session is None or self._session[0] != wanted:
            self._session = None  # the old one goes before the new one comes
            if self.setting.device != "cpu":
                torch.cuda.empty_cache()
            px = self.spec.image_px
            batch = torch.randn(batch_size, self.spec.in_chans, px, px, generator=torch.Generator().manual_seed(0))
            batch = batch.to(self.setting.device, getattr(torch, self.setting.dtype))
            runtime = RUNTIMES[self.setting.runtime]()
            if training and not runtime.trains:
                raise Unmeasurable(f"{self.setting.runtime} does not train")
            prepare = runtime.prepare_training if training else runtime.prepare
            self._session = (wanted, prepare(self.module, batch))
        return self._session[1]

    def call_s(self, session: Session) -> float:
        """Seconds of one call, from asking to done."""
        start = self.clock()
        session()
        session.synchronize()
        return self.clock() - start

    def warm_up(self, batch_size: int, *, training: bool = False, least_s: float = 0.2, most_s: float = 3.0) -> int:
        """Calls until three calls in a row differ by less than a tenth, and returns how many calls make a visit.

        At least `least_s` and five calls, at most `most_s` (a compiler's first call aside).
        """
        session = self.session(batch_size, training=training)
        self.call_s(session)
        start, took = self.clock(), [self.call_s(session)]
        while (spent := self.clock() - start) < most_s:
            took.append(self.call_s(session))
            steady = len(took) >= 5 and max(took[-3:]) < 1.1 * min(took[-3:])
            if steady and spent >= least_s:
                break
        typical = sorted(took[-3:])[len(took[-3:]) // 2]
        return int(min(max(self.setting.visit_s / max(typical, 1e-9), 3), 100))

    def wake(self, batch_size: int, *, training: bool = False, least_s: float = 0.02) -> None:
        """Calls that are not measured, since another model ran last: its threads may still spin, the caches are its."""
        session, start = self.session(batch_size, training=training), self.clock()
        self.call_s(session)
        while self.clock() - start < least_s:
            self.call_s(session)

    def seconds(self, batch_size: int, *, training: bool = False) -> list[float]:
        """One visit: the seconds of each repeat."""
        session = self.session(batch_size, training=training)
        return [self.call_s(session) for _ in range(self.repeats)]

    def find_best_batch_size(self) -> tuple[int, list[list[float]]]:
        """The batch size with most images per second, and the curve [[batch size, images per second], ...] to it.

        Doubles from 1 until two sizes in a row bring less than 2 percent over the best so far, or memory ends,
        or `max_batch` is reached. The sizes within a tenth of the best are then timed twice more. Each size is
        judged by its fastest call: what disturbs a machine only ever makes calls slower, and a search that is
        disturbed would otherwise settle on another size than the next one.
        """
        took: dict[int, list[float]] = {}
        worse, batch_size = 0, 1
        while batch_size <= self.setting.max_batch and worse < 2:
            try:
                seconds = self._search_visit(batch_size)
            except (MemoryError, torch.OutOfMemoryError):
                break
            best_rate = max((size / min(s) for size, s in took.items()), default=0.0)
            worse = 0 if batch_size / min(seconds) > 1.02 * best_rate else worse + 1
            took[batch_size] = seconds
            batch_size *= 2
        if not took:
            raise Unmeasurable("not even one image fits into memory")
        best_rate = max(size / min(s) for size, s in took.items())
        close = [size for size, s in took.items() if size / min(s) > 0.9 * best_rate]
        for size in close + close if len(close) > 1 else []:
            took[size] += self._search_visit(size)
        curve = [[float(size), size / min(s)] for size, s in took.items()]
        self.best_batch_size = int(max(curve, key=lambda point: point[1])[0])
        return self.best_batch_size, curve

    def _search_visit(self, batch_size: int) -> list[float]:
        """Three calls, and as many more as a third of a visit takes, after one that is not measured."""
        session = self.session(batch_size)
        self.call_s(session)
        took: list[float] = []
        while len(took) < 3 or (sum(took) < self.setting.visit_s / 3 and len(took) < 100):
            took.append(self.call_s(session))
        return took
