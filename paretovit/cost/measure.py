"""The loop that turns models into rows; nothing else times a model.

A noisy machine is the normal case. Every model lives in a process of its own. Timings are taken in rounds: in
each round every model of a group is visited for a moment, in an order that changes, so that a drift of the
machine hits all alike; one anchor model is visited in every round of every group, so that groups can be put on
one scale. A visit during which others kept the machine busy is repeated when it is quiet again; where it does
not become quiet, the row says so and claims nothing.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paretovit.cost.assumptions import checked
from paretovit.cost.choose import check_dtype
from paretovit.cost.folders import INDICATORS, RUNTIMES
from paretovit.cost.indicators import Derived, Indicator
from paretovit.cost.subject import Calibration, Setting
from paretovit.cost.worker import Nursery, Visit, Worker
from paretovit.devices import Busy, allocator, check_device, device_name, num_threads, origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement, median
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

BUSY = 0.08  # share of a visit that others may take; on a quiet machine it is 0 to 0.02
FLAGGED = 0.2  # share of busy rounds past which a row is flagged; the median does not feel fewer
_SEARCHED = (1, 2, 4, 8)  # the batch sizes that the search for the best one hardly ever ends before


@dataclass(frozen=True, kw_only=True)
class Care:
    """How carefully time is taken.

    rounds      visits to every model: more of them give narrower intervals
    sittings    fresh processes that a model's rounds are spread over; two processes of one model may differ by
                several percent (where its memory lies), which no number of rounds in one of them shows
    visit_s     seconds that one visit should take
    group       models whose processes live side by side, the anchor aside; each takes a few hundred megabytes
    timeout_s   seconds after which a silent process is ended
    patience_s  seconds that each indicator of a group may wait until the machine is quiet
    seed        of the order in which models are visited
    """

    rounds: int = 15
    sittings: int = 3
    visit_s: float = 0.15
    group: int = 16
    timeout_s: float = 300.0
    patience_s: float = 20.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of a run: all of it; warm-up and what is measured; exports and compilers, before anything is timed."""

    wall_s: float
    measuring_s: float
    laying_out_s: float

    @property
    def share(self) -> float:
        """Of warm-up and measuring, exports and compilers aside. The rest is starting processes, building models, and
        waiting for a quiet machine."""
        return self.measuring_s / max(self.wall_s - self.laying_out_s, 1e-9)

    def __str__(self) -> str:
        aside = f"; exports and compilers took another {self.laying_out_s:.0f} s" if self.laying_out_s >= 1 else ""
        return f"{self.share:.0%} of {self.wall_s - self.laying_out_s:.0f} s went into warm-up and measuring{aside}"


@dataclass
class Progress:
    """Told of every step; a caller that wants to show it overrides `step`. `spent` is there when all is done."""

    total: int = 0
    done: int = 0
    spent: Spent | None = None

    def step(self, text: str, steps: int = 1) -> None:
        self.done += steps


def measure(
    models: Sequence[str | ModelSpec],
    *,
    indicators: Sequence[str] | None = None,
    runtimes: Sequence[str] = ("torch_eager",),
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    batch_size: int = 8,
    store: Store | None = None,
    again: bool = False,
    care: Care | None = None,
    progress: Progress | None = None,
    assume: Mapping[str, float] | None = None,
    calibration: Calibration | None = None,
    max_batch: int = Setting.max_batch,
    artifacts: Path | None = None,
    export_only: bool = False,
) -> list[Measurement]:
    """Measures what `store` does not have yet of the models under every runtime, and returns the new rows.

    indicators   names in `cost/indicators`; by default all but those that are measured only if named
    threads      threads per operator; all cores by default
    batch_size   images per call for training steps and peak memory (latency is of one image, throughput at the
                 best batch size)
    again        measures what the store has, too
    assume       what cannot be measured and is stated instead, such as a price; see `cost/assumptions.py`
    calibration  the real images that `dtype="int8"` takes; which ones is a condition of the rows
    max_batch    largest batch that the search for the best one tries; another than the default is a condition
    artifacts    folder in which the files that runtimes run are kept, and looked for first; see `cost/artifacts.py`
    export_only  exports into `artifacts` what is to be measured, on all cores at once, and measures nothing

    Rows go into the store as they are made, so an interruption loses at most the rounds under way. What cannot
    be measured is a row with a `why`. The first model is the anchor. Raises `UserError` for unknown names, and
    for runtimes and devices that are not here.
    """
    specs = [resolve(model) if isinstance(model, str) else model for model in models]
    setting = Setting(
        device=check_device(device),
        dtype=dtype,
        threads=threads or num_threads(),
        batch_size=batch_size,
        visit_s=(care or Care()).visit_s,
        assumed=checked(assume or {}),
        calibration=calibration,
        max_batch=max_batch,
        artifacts=None if artifacts is None else artifacts.absolute(),
    )
    check(specs, runtimes, setting)
    if artifacts is not None:
        try:
            artifacts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot keep files in {artifacts}: {error.strerror}; give --artifacts another") from error
    elif export_only:
        raise UserError("--export-only wants --artifacts FOLDER, where the files are then found again")
    names = list(indicators) if indicators is not None else usual_indicators()
    run = _Run(specs, [(name, INDICATORS[name]()) for name in names], store, care or Care(), progress or Progress())
    for runtime in runtimes:
        run.plan(replace(setting, runtime=runtime), again)
    run.carry_out(export_only=export_only)
    return run.made


def usual_indicators() -> list[str]:
    """All that are measured without being named."""
    return [name for name in INDICATORS.names() if not INDICATORS.fact(name, "only_if_named", False)]


def conditions_of(spec: ModelSpec, indicator: Indicator, setting: Setting) -> Conditions:
    """What a row of that indicator depends on."""
    if indicator.kind == "static":
        return Conditions(spec=spec.key)
    own = allocator() if setting.device == "cpu" else ""
    batches: dict[str, int | str | None] = {"one": 1, "asked": setting.batch_size, "best": "best", "": None}
    return Conditions(
        spec=spec.key, device=device_name(setting.device), runtime=setting.runtime, dtype=setting.dtype,
        batch_size=batches[indicator.batch], threads=setting.threads,
        assumptions=(*indicator.assumptions(setting), *setting.calibrated, *((("allocator", own),) if own else ())),
    )  # fmt: skip


def check(specs: Sequence[ModelSpec], runtimes: Sequence[str], setting: Setting) -> None:
    """Raises `UserError` for what cannot be run here, before anything is."""
    if not specs:
        raise UserError("name at least one model; `paretovit models` lists them")
    check_dtype(setting.dtype, setting.calibration)
    if setting.calibration is not None:
        setting.calibration(specs[0])  # what is wrong with the data is said now, and not in every row
    sizes = {"threads": setting.threads, "batch size": setting.batch_size, "largest batch": setting.max_batch}
    for field_, value in sizes.items():
        if value < 1:
            raise UserError(f"{field_} must be at least 1, got {value}")
    for name in runtimes:
        runtime, kind = RUNTIMES[name], setting.device.split(":")[0]
        if kind not in runtime.devices:
            raise UserError(f"{name} does not run on {kind}; it runs on {', '.join(runtime.devices)}")
        if runtime.missing():
            raise UserError(runtime.missing())


@dataclass
class _Task:
    """One model under one setting, with the indicators that it has no row of yet."""

    spec: ModelSpec
    setting: Setting
    wanted: list[tuple[str, Indicator]]
    is_anchor: bool = False
    worker: Worker | None = None
    folder: Path | None = None


@dataclass
class _Timing:
    """What the rounds of one indicator brought for one model."""

    task: _Task
    facts: dict[str, Any] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    repeated: int = 0
    why: str = ""


class _Run:
    def __init__(
        self,
        specs: Sequence[ModelSpec],
        indicators: Sequence[tuple[str, Indicator]],
        store: Store | None,
        care: Care,
        progress: Progress,
    ) -> None:
        self.specs, self.indicators, self.store, self.care, self.progress = specs, indicators, store, care, progress
        self.made: list[Measurement] = []
        self.tasks: list[_Task] = []
        self.anchors: dict[Setting, _Task] = {}
        self.random = random.Random(care.seed)
        self.laying_out_s = 0.0

    def plan(self, setting: Setting, again: bool) -> None:
        """Notes what is missing under this setting."""
        for number, spec in enumerate(self.specs):
            pairs = [(conditions_of(spec, indicator, setting), name) for name, indicator in self.indicators]
            missing = set(pairs) if self.store is None or again else set(self.store.missing(pairs))
            planned = {(c, n) for task in self.tasks for c, n in self._pairs(task)}  # statics know no runtime
            wanted = [
                (name, indicator)
                for (conditions, name), (_, indicator) in zip(pairs, self.indicators, strict=True)
                if (conditions, name) in missing and (conditions, name) not in planned
            ]
            task = _Task(spec, setting, wanted, is_anchor=number == 0)
            if number == 0:
                self.anchors[setting] = task
            if wanted:
                self.tasks.append(task)
                for _, indicator in wanted:
                    self.progress.total += self.care.rounds + 1 if indicator.kind == "timed" else 1

    @staticmethod
    def _pairs(task: _Task) -> list[tuple[Conditions, str]]:
        return [(conditions_of(task.spec, indicator, task.setting), name) for name, indicator in task.wanted]

    def carry_out(self, *, export_only: bool = False) -> None:
        if not self.tasks:
            return
        start = time.perf_counter()
        with Nursery() as nursery:
            for setting, anchor in self.anchors.items():
                tasks = [task for task in self.tasks if task.setting == setting and task is not anchor]
                if anchor in self.tasks:
                    tasks.insert(0, anchor)
                for at in range(0, len(tasks), self.care.group):
                    self._group(nursery, tasks[at : at + self.care.group], anchor, export_only=export_only)
            self.progress.spent = Spent(
                wall_s=time.perf_counter() - start, measuring_s=nursery.measuring_s, laying_out_s=self.laying_out_s
            )

    def _group(self, nursery: Nursery, tasks: list[_Task], anchor: _Task, *, export_only: bool) -> None:
        everyone = tasks if anchor in tasks else [anchor, *tasks]
        for task in everyone:
            task.folder = nursery.folder() if task.setting.artifacts is None else None
            task.worker = nursery.worker(task.spec, task.setting, task.folder)
        start = time.perf_counter()
        self._lay_out(tasks)
        self.laying_out_s += time.perf_counter() - start
        if not export_only:
            self._measure(nursery, tasks, anchor)
        for task in everyone:
            if task.worker is not None:
                task.worker.close()
                task.worker = None
            if task.folder is not None:
                shutil.rmtree(task.folder, ignore_errors=True)  # weights are in it, once per batch size

    def _lay_out(self, tasks: Sequence[_Task]) -> None:
        """Exports and compiles on all cores at once, where that takes long: nothing is timed meanwhile."""

        def lay_out(task: _Task) -> None:
            with suppress(Unmeasurable):  # whoever measures hears it again, and makes it a row
                for batch_size, training in _calls_of(task):
                    _worker(task).lay_out(batch_size, training=training, timeout_s=self.care.timeout_s)
                    done = f"{task.spec.name}: {task.setting.runtime} is ready for batches of {batch_size}"
                    self.progress.step(done, 0)

        slow = [task for task in tasks if RUNTIMES[task.setting.runtime].prepares]
        if slow:
            with ThreadPoolExecutor(max(1, num_threads() // slow[0].setting.threads)) as pool:
                try:
                    list(pool.map(lay_out, slow))
                except BaseException:  # Ctrl-C among them: no thread is to wait for an export to end
                    pool.shutdown(wait=False, cancel_futures=True)
                    for task in slow:
                        _worker(task).close()
                    raise

    def _measure(self, nursery: Nursery, tasks: list[_Task], anchor: _Task) -> None:
        for task in tasks:
            for name, indicator in task.wanted:
                if indicator.kind in ("static", "once"):
                    self._once(nursery, task, name, indicator)
        for name, indicator in self.indicators:
            if indicator.kind == "timed":
                timed = [task for task in tasks if any(name == wanted for wanted, _ in task.wanted)]
                if timed:
                    self._rounds(nursery, timed, anchor, name, indicator)
        for task in tasks:
            for name, indicator in task.wanted:
                if isinstance(indicator, Derived):
                    self._derive(task, name, indicator)

    def _once(self, nursery: Nursery, task: _Task, name: str, indicator: Indicator) -> None:
        how = indicator.how
        try:
            if indicator.processes:
                visits, repeated = self._fresh_visits(nursery, task, name, indicator.processes)
                busy = [visit.busy for visit in visits]
                facts: dict[str, Any] = {"busy": busy, "contended": _contended(busy), "repeated_visits": repeated}
            else:
                visits, facts = [_worker(task).visit(name, timeout_s=self.care.timeout_s)], {}
            samples = tuple(sample for visit in visits for sample in visit.samples)
            self._keep(task, name, indicator, indicator.value(samples), samples, how=how, **facts)
        except Unmeasurable as error:
            self._keep(task, name, indicator, None, (), how=how, why=str(error))
        self.progress.step(f"{task.spec.name}: {indicator.title}")

    def _fresh_visits(self, nursery: Nursery, task: _Task, name: str, processes: int) -> tuple[list[Visit], int]:
        """One visit in each of several fresh processes, after another one has laid out what they find; and how many
        more were made since others kept the machine busy."""
        _worker(task).settle(name, timeout_s=self.care.timeout_s)
        patience = _Patience(self.care.patience_s)

        def ask() -> Visit:
            self._renew(task, nursery)
            return _worker(task).visit(name, timeout_s=self.care.timeout_s)

        visits = [_least_disturbed(ask, patience) for _ in range(processes)]
        return [visit for visit, _ in visits], sum(repeated for _, repeated in visits)

    def _rounds(self, nursery: Nursery, tasks: list[_Task], anchor: _Task, name: str, indicator: Indicator) -> None:
        """Visits in rounds until every model has its samples, then rows."""
        patience = _Patience(self.care.patience_s)
        timings = [_Timing(task) for task in (tasks if anchor in tasks else [anchor, *tasks])]
        sittings = min(self.care.sittings, self.care.rounds)
        for number in range(self.care.rounds):
            # the first rounds of every sitting are those where the integer part of the share grows
            if number == 0 or number * sittings // self.care.rounds > (number - 1) * sittings // self.care.rounds:
                for timing in timings:
                    if number == 0:
                        self._settle(timing, name, patience)  # finds out how it is measured
                    # an allocator keeps the memory of what its process did before, a larger batch or a training step,
                    # and calls that find theirs there may take half of the time: a sitting's process did nothing else
                    self._renew(timing.task, nursery)
                    self._settle(timing, name, patience)
                    if timing.task in tasks and number == 0:
                        self.progress.step(f"{timing.task.spec.name}: {indicator.title}, warmed up")
            for timing in self.random.sample(timings, len(timings)):
                if not timing.why:
                    self._visit(timing, name, patience)
                if timing.task in tasks:
                    self.progress.step(f"{indicator.title}, round {number + 1} of {self.care.rounds}")
        of_anchor = next(timing for timing in timings if timing.task is anchor)
        for timing in timings:
            if timing.task in tasks:
                self._keep_timing(timing, name, indicator, of_anchor)

    @staticmethod
    def _renew(task: _Task, nursery: Nursery) -> None:
        """A fresh process for the next sitting."""
        _worker(task).close()
        task.worker = nursery.worker(task.spec, task.setting, task.folder)

    def _settle(self, timing: _Timing, name: str, patience: _Patience) -> None:
        if timing.why:
            return
        before = timing.facts or None
        try:
            while True:
                timing.facts, busy = _worker(timing.task).settle(name, before, timeout_s=self.care.timeout_s)
                if busy <= BUSY or not patience.wait_until_quiet():
                    return
        except Unmeasurable as error:
            timing.why = str(error)

    def _visit(self, timing: _Timing, name: str, patience: _Patience) -> None:
        try:
            visit, repeated = _least_disturbed(
                lambda: _worker(timing.task).visit(name, timeout_s=self.care.timeout_s), patience
            )
            timing.visits.append(visit)
            timing.repeated += repeated
        except Unmeasurable as error:
            timing.why = str(error)

    def _keep_timing(self, timing: _Timing, name: str, indicator: Indicator, anchor: _Timing) -> None:
        if timing.why:
            self._keep(timing.task, name, indicator, None, (), how="measured", why=timing.why)
            return
        samples = tuple(sample for visit in timing.visits for sample in visit.samples)
        busy = [visit.busy for visit in timing.visits]
        facts: dict[str, Any] = {
            **timing.facts,
            "rounds": len(timing.visits),
            "sittings": min(self.care.sittings, self.care.rounds),
            "busy": busy,
            "contended": _contended(busy),
            "repeated_visits": timing.repeated,
        }
        if not anchor.why:
            rounds = [median(visit.samples) for visit in anchor.visits]
            before = self._rows_of(anchor.task, name, indicator)
            facts["anchor"] = anchor.task.spec.name
            facts["anchor_rounds"] = rounds
            facts["anchor_reference"] = before[-1].value if before and before[-1].value else median(rounds)
        try:
            self._keep(timing.task, name, indicator, indicator.value(samples), samples, how="measured", **facts)
        except Unmeasurable as error:
            self._keep(timing.task, name, indicator, None, samples, how="measured", why=str(error), **facts)

    def _derive(self, task: _Task, name: str, indicator: Derived) -> None:
        """From the row of its source, made just now or before; the source is not measured for it alone."""
        rows = self._rows_of(task, indicator.source, INDICATORS[indicator.source]())
        self.progress.step(f"{task.spec.name}: {indicator.title}")
        if not rows or rows[-1].value is None:
            why = rows[-1].why if rows else f"it is read off {indicator.source}, which was not measured; ask for both"
            self._keep(task, name, indicator, None, (), how="derived", why=why)
            return
        source = rows[-1]
        conditions = conditions_of(task.spec, indicator, task.setting)
        timing = dict(source.origin.timing)
        try:
            samples = tuple(indicator.of_sample(sample, conditions) for sample in source.samples)
            if "anchor_rounds" in timing:
                timing["anchor_rounds"] = [indicator.of_sample(s, conditions) for s in timing["anchor_rounds"]]
                timing["anchor_reference"] = indicator.of_sample(timing["anchor_reference"], conditions)
            value = indicator.value(samples)
        except Unmeasurable as error:
            self._keep(task, name, indicator, None, (), how="derived", why=str(error))
            return
        if indicator.quantile != 0.5:
            samples = ()  # they are the source's already, and their median is not this value
        self._keep(task, name, indicator, value, samples, how="derived", **timing)

    def _rows_of(self, task: _Task, name: str, indicator: Indicator) -> list[Measurement]:
        """The rows there are of one indicator of a task, oldest first."""
        conditions = conditions_of(task.spec, indicator, task.setting)
        kept = [] if self.store is None else self.store.rows(name, spec=task.spec.key)
        return [row for row in [*kept, *self.made] if row.indicator == name and row.conditions == conditions]

    def _keep(
        self,
        task: _Task,
        name: str,
        indicator: Indicator,
        value: float | None,
        samples: tuple[float, ...],
        *,
        how: str,
        why: str = "",
        **timing: Any,
    ) -> None:
        libraries = () if indicator.kind == "static" else RUNTIMES[task.setting.runtime].packages()
        row = Measurement(
            model=task.spec.name,
            indicator=name,
            unit=indicator.unit,
            value=value,
            samples=samples,
            conditions=conditions_of(task.spec, indicator, task.setting),
            origin=origin(how, libraries=libraries, **timing),
            why=why,
        )
        if self.store is not None:
            self.store.append([row], [task.spec])
        self.made.append(row)


def _calls_of(task: _Task) -> list[tuple[int, bool]]:
    """Batch sizes, and whether of training, that what is wanted of a task is sure to call for."""
    trains, calls = RUNTIMES[task.setting.runtime].trains, set()
    for _, indicator in task.wanted:
        if indicator.kind in ("static", "derived"):
            continue
        training = getattr(indicator, "training", False)
        if training and not trains:
            continue
        sizes = {"": [], "one": [1], "asked": [task.setting.batch_size], "best": _SEARCHED}[indicator.batch]
        calls |= {(size, training) for size in sizes if size <= max(task.setting.max_batch, task.setting.batch_size)}
    return sorted(calls)


def _least_disturbed(ask: Callable[[], Visit], patience: _Patience) -> tuple[Visit, int]:
    """A visit, and again while others keep the machine busy; the least disturbed one, and how many more there were."""
    best, repeated = ask(), 0
    while best.busy > BUSY and patience.wait_until_quiet():
        repeated += 1
        with patience.spent():  # or a compiler of minutes would be repeated for hours
            best = min(best, ask(), key=lambda visit: visit.busy)
    return best, repeated


def _contended(busy: Sequence[float]) -> bool:
    """True if others were busy in more of the visits than a median leaves out."""
    return sum(share > BUSY for share in busy) > FLAGGED * len(busy)


def _worker(task: _Task) -> Worker:
    assert task.worker is not None, "a group starts the workers of its tasks"
    return task.worker


class _Patience:
    """A budget of seconds for waiting until nobody else keeps the machine busy."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.left, self.clock = seconds, clock

    def wait_until_quiet(self) -> bool:
        """Waits while others are busy. True if another try is worth it; False when patience is at its end."""
        pause = 0.25
        while self.left > 0:
            busy, start = Busy(), self.clock()
            time.sleep(min(pause, self.left))
            spent = self.clock() - start
            self.left -= spent
            if busy.share(spent) <= BUSY:
                return True
            pause = min(2 * pause, 4.0)
        return False

    @contextmanager
    def spent(self) -> Iterator[None]:
        """What is done meanwhile is paid from the budget."""
        start = self.clock()
        yield
        self.left -= self.clock() - start
