"""What an indicator measures: one model under one setting, with the sessions it needs."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from paretovit.cost.artifacts import kept_in
from paretovit.cost.choose import chosen, tensors_of
from paretovit.cost.counting import Count, count
from paretovit.cost.runtimes import FileRuntime, Runtime, Session
from paretovit.errors import Unmeasurable
from paretovit.spec import ModelSpec
from paretovit.zoo.build import build
from paretovit.zoo.fold import folded


class Calibration(Protocol):
    """Real images that the scales of int8 are read off; `name` says which and how many, as rows name them."""

    @property
    def name(self) -> str: ...

    def __call__(self, spec: ModelSpec) -> Tensor:
        """(N, C, H, W) float32, as the model takes them. Raises `UserError` where they cannot be had."""
        ...


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How models are run.

    calibration  what int8 is calibrated on; None for every other data type
    batch_size   images per call where an indicator does not fix or find it
    max_batch    largest batch size that the search for the best one tries
    visit_s      seconds that one visit to a model should take
    assumed      what the user states and nobody can measure, such as a price; see `cost/assumptions.py`
    artifacts    folder in which the files that runtimes run are kept for later measurings; None: they are not
    """

    runtime: str = "torch_eager"
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    batch_size: int = 8
    max_batch: int = 256
    visit_s: float = 0.15
    assumed: tuple[tuple[str, float], ...] = ()
    calibration: Calibration | None = None
    artifacts: Path | None = None

    @property
    def tensors(self) -> torch.dtype:
        """Of the module and its images."""
        return tensors_of(self.dtype)

    @property
    def calibrated(self) -> tuple[tuple[str, Any], ...]:
        """What every row under this setting takes for granted: the images that int8 was calibrated on."""
        return () if self.calibration is None else (("calibration", self.calibration.name),)


class Subject:
    """One model under one setting. Holds one session at a time, so that sessions do not add up in memory.

    `folder` is where the files are kept that a runtime runs; a process that comes after finds them there. Without it
    they end with the subject.
    """

    def __init__(
        self,
        spec: ModelSpec,
        setting: Setting,
        *,
        folder: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.spec, self.setting, self.clock = spec, setting, clock
        self._folder = folder
        self._session: tuple[tuple[int, bool], Session] | None = None
        self.repeats = 1  # calls of a visit, until a warm-up says how many
        self.best_batch_size = 1  # until it is searched for
        self.called_s = 0.0  # seconds of warm-up and of timed calls so far; a first call, which may compile, is neither

    @cached_property
    def count(self) -> Count:
        """The operator counter's totals for one image."""
        return count(lambda: build(self.spec, device="meta"), (1, *self.spec.input_shape))

    @cached_property
    def module(self) -> nn.Module:
        torch.manual_seed(0)  # the values do not matter for a cost, but the same ones make the same run
        return build(self.spec).to(self.setting.device, self.setting.tensors)

    def session(self, batch_size: int, *, training: bool = False) -> Session:
        """The model made ready for batches of that size, or its training step on them."""
        wanted = (batch_size, training)
        if self._session is None or self._session[0] != wanted:
            self._session = None  # the old one goes before the new one comes
            if self.setting.device != "cpu":
                torch.cuda.empty_cache()
            if training and not self.runtime.trains:
                raise Unmeasurable(f"{self.setting.runtime} does not train")
            if training:
                session = self.runtime.prepare_training(self.module, self.batch(batch_size))
            elif isinstance(self.runtime, FileRuntime):
                session = self.runtime.load(self.artifact(batch_size), self.batch(batch_size))
            else:
                session = self.runtime.prepare(self.module.eval(), self.batch(batch_size))
            self._session = (wanted, session)
        return self._session[1]

    @cached_property
    def runtime(self) -> Runtime:
        """Raises `Unmeasurable` for a data type that it does not compute in."""
        calibration = self.setting.calibration
        return chosen(
            self.setting.runtime, self.setting.dtype, None if calibration is None else lambda: calibration(self.spec)
        )

    def batch(self, batch_size: int) -> Tensor:
        """Random images, the same ones every time."""
        batch = torch.randn(batch_size, *self.spec.input_shape, generator=torch.Generator().manual_seed(0))
        return batch.to(self.setting.device, self.setting.tensors)

    def artifact(self, batch_size: int) -> Path:
        """The file that the runtime runs on batches of that size; exported if no process of this model did before.

        It is the file that `export` writes, so norms that fold are folded; PyTorch itself runs the model as it is. It
        lies in a folder of its own, with whatever belongs to it. Raises `Unmeasurable` for a runtime that has no
        file or does not take the model; a later process then hears the same without trying again.
        """
        home, refused = self.folder / f"{batch_size}", self.folder / "refused"
        if refused.exists():
            raise Unmeasurable(refused.read_text(encoding="utf-8"))
        name = f"model{self.runtime.suffix}"
        if not home.exists():
            # a draft of this process's own: another may export the same at this moment
            with tempfile.TemporaryDirectory(prefix=f".{batch_size}-", dir=self.folder) as draft:
                made = Path(draft, "made")
                made.mkdir()
                try:
                    self.runtime.export(folded(self.module.eval()), self.batch(batch_size), made / name)
                except Unmeasurable as error:
                    said = Path(draft, "refused")
                    said.write_text(str(error), encoding="utf-8")
                    said.replace(refused)
                    raise
                try:
                    made.rename(home)
                except OSError:
                    if not home.exists():  # else another process was first
                        raise
        return home / name

    def lay_out(self, batch_size: int, *, training: bool = False) -> None:
        """Does what takes a runtime long before its first call and is found again by later processes: the file is
        exported; where there is none, the model is called once, for compilers keep what they compiled."""
        if isinstance(self.runtime, FileRuntime) and not training:
            self.artifact(batch_size)
        else:
            self.call_s(self.session(batch_size, training=training))

    @cached_property
    def folder(self) -> Path:
        if self.setting.artifacts is not None:
            kept = kept_in(self.setting.artifacts, self.spec, self.setting)
            kept.mkdir(parents=True, exist_ok=True)
            return kept
        if self._folder is not None:
            return self._folder
        own = tempfile.mkdtemp(prefix="paretovit-")
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        return Path(own)

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
        self.called_s += sum(took)
        typical = sorted(took[-3:])[len(took[-3:]) // 2]
        return int(min(max(self.setting.visit_s / max(typical, 1e-9), 3), 100))

    def wake(self, batch_size: int, *, training: bool = False, least_s: float = 0.02) -> None:
        """Calls that are not measured, since another model ran last: its threads may still spin, the caches are its."""
        session, start = self.session(batch_size, training=training), self.clock()
        self.call_s(session)
        while self.clock() - start < least_s:
            self.call_s(session)
        self.called_s += self.clock() - start

    def seconds(self, batch_size: int, *, training: bool = False) -> list[float]:
        """One visit: the seconds of each repeat."""
        session = self.session(batch_size, training=training)
        took = [self.call_s(session) for _ in range(self.repeats)]
        self.called_s += sum(took)
        return took

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
        if self.setting.artifacts is None:
            for size in took.keys() - {1, self.best_batch_size, self.setting.batch_size}:
                shutil.rmtree(self.folder / f"{size}", ignore_errors=True)  # weights are in each of them
        return self.best_batch_size, curve

    def _search_visit(self, batch_size: int) -> list[float]:
        """Three calls, and as many more as a third of a visit takes, after one that is not measured."""
        session = self.session(batch_size)
        self.call_s(session)
        took: list[float] = []
        while len(took) < 3 or (sum(took) < self.setting.visit_s / 3 and len(took) < 100):
            took.append(self.call_s(session))
        self.called_s += sum(took)
        return took
