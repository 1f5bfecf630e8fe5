"""Trainings of a search: one after the other in this process, or several at once in processes of their own, which may
be on the machines of a cluster.

Each uses one thread of the CPU, however many run at once: how many threads add up a sum changes its last bits, and by
them the path that a search takes. Every training has a folder of its own, where it is gone on with after any stop; a
worker whose parent is killed ends at once. Starting a worker takes seconds, so they stay from one step of a search to
the next.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement
from paretovit.optimize.halving import Asked
from paretovit.optimize.scale_cost import GO_ON
from paretovit.optimize.scale_ray import RayWorkers
from paretovit.optimize.search_folder import diverged_apart
from paretovit.spec import ModelSpec
from paretovit.training.data import Data, open_data
from paretovit.training.loop import STATE, train
from paretovit.training.progress import Tick, Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.zoo.checkpoint import load_about

# the rows of a finished training, the accuracy of one that was to stop after so many epochs, or why it diverged
Outcome = list[Measurement] | float | Unmeasurable
Watching = Callable[[str], AbstractContextManager[Watch]]


def _unwatched(title: str) -> AbstractContextManager[Watch]:
    return nullcontext(silent)


class _Workers:
    """Processes that train; begun when they are first needed."""

    def __init__(self, number: int) -> None:
        context = get_context("spawn")  # this process has threads, which a fork would lose
        self._stop = context.Event()
        self._executor = ProcessPoolExecutor(number, context, _begin, (self._stop,))

    def submit(self, call: Callable[..., Any], *given: Any) -> Future[Any]:
        return self._executor.submit(call, *given)

    def end(self) -> None:
        """Trainings that run keep where they are; those that wait are not begun."""
        self._stop.set()
        self._executor.shutdown(cancel_futures=True)


@dataclass(kw_only=True)
class Trainings:
    """Trains models by a recipe, `jobs` at once; model KEY in the folder KEY of `runs`. With an address in `ray`, as
    many at once as that cluster has cores, or GPUs.

    `watching` makes who is told of the steps; where several trainings run at once, nobody is. Used as a context, at
    the end of which the processes end that train several at once; they do so, too, when one call of it is stopped.
    """

    data: str
    recipe: Recipe
    runs: Path
    device: str = "cpu"
    jobs: int = 1
    ray: str = ""
    watching: Watching = _unwatched
    _workers: _Workers | RayWorkers | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UserError(f"jobs must be at least 1, got {self.jobs}")
        if self.jobs > 1 and not self.ray and self.device != "cpu":
            raise UserError(f"several trainings at once are for the CPU; leave out --jobs on {self.device}")

    def __call__(self, waiting: deque[Asked]) -> Iterator[tuple[Asked, Outcome]]:
        """Outcomes as they come: of the whole recipe, or the top-1 accuracy after so many epochs of it, where the
        training then rests. What is begun is taken from `waiting`, to which more may be added between two outcomes.
        Raises `UserError` as `train` does, and `KeyboardInterrupt` if stopped."""
        apart = len(waiting) > 0 if self.ray else min(self.jobs, len(waiting)) > 1
        yield from (self._at_once if apart else self._here)(waiting)

    def _here(self, waiting: deque[Asked]) -> Iterator[tuple[Asked, Outcome]]:
        while waiting:
            one = waiting.popleft()
            with self.watching(one.spec.name) as watch, _one_thread(self.device):
                outcome = self.carried_out(one, watch)
            yield one, outcome

    def one(self, spec: ModelSpec) -> list[Measurement]:
        """The rows of one training. Raises `Unmeasurable` if it diverged."""
        ((_, outcome),) = self._here(deque([Asked(spec)]))
        if isinstance(outcome, Unmeasurable):
            raise outcome
        assert isinstance(outcome, list), "the training was not to stop before its end"
        return outcome

    def _at_once(self, waiting: deque[Asked]) -> Iterator[tuple[Asked, Outcome]]:
        if self._workers is None:
            gpu = self.device != "cpu"
            self._workers = RayWorkers(self.ray, gpu=gpu) if self.ray else _Workers(self.jobs)
        plain = Trainings(data=self.data, recipe=self.recipe, runs=self.runs, device=self.device)  # what is sent
        all_came = False
        try:
            running: dict[Future[Outcome], Asked] = {}
            while waiting or running:
                while waiting:
                    one = waiting.popleft()
                    running[self._workers.submit(_work, plain, one)] = one
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
            all_came = True
        except BrokenProcessPool as error:
            raise UserError(
                f"a training was killed, most likely since memory ran out; give fewer --jobs; {GO_ON}"
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {GO_ON}") from None
        finally:
            if not all_came:
                self.end()

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """End the processes that train, if there are any; the next call that needs some begins others."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.end()

    def carried_out(self, asked: Asked, watch: Watch) -> Outcome:
        """One training, in this process."""
        spec, until = asked
        folder, reached = self.runs / spec.key, []
        if until is not None and len(before := accuracies(folder)) >= until:
            return before[until - 1]

        def look(tick: Tick) -> None:
            watch(tick)
            if until is not None and tick.epoch > until:
                reached.append(tick.score or 0.0)
                raise KeyboardInterrupt  # the way in which a training is asked to keep where it is

        try:
            with diverged_apart():
                images = _opened(self.data, spec.square_px, spec.in_chans)
                return train(spec, images, self.recipe, out=folder, device=self.device, progress=look).rows
        except Unmeasurable as error:
            return error
        except KeyboardInterrupt:
            if reached:
                return float(reached[0])
            raise


def accuracies(folder: Path) -> list[float]:
    """Top-1 after each epoch that the training in the folder has finished; none if there is no such training."""
    if not (folder / STATE).exists():
        return []
    scores = [epoch["score"] for epoch in load_about(folder / STATE)["epochs"]]
    return [score["hits1"] / score["images"] for score in scores]


@lru_cache(maxsize=1)  # most candidates of a step take images of one size
def _opened(data: str, image_px: int, in_chans: int) -> Data:
    return open_data(data, img_size=image_px, in_chans=in_chans)


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_asked_to_stop: Event | None = None  # of a worker


def _begin(stop: Event) -> None:
    """What a worker does before its first training."""
    global _asked_to_stop
    _asked_to_stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to hear, which then asks to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker has one"
    wait_for([parent.sentinel])
    os._exit(1)


def _work(trainings: Trainings, asked: Asked) -> Outcome:
    def look(tick: Tick | None = None) -> None:
        if _asked_to_stop is not None and _asked_to_stop.is_set():
            raise KeyboardInterrupt

    look()  # one that a worker had been given already when all were asked to stop
    with _one_thread(trainings.device):
        return trainings.carried_out(asked, look)
