"""What a scaled model costs: counted, predicted, or measured on the device; measured once, and kept as a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretovit.analysis.intervals import RESOLUTION, UNKNOWN, Interval, bootstrap_median, of_rounds
from paretovit.cost.count import count
from paretovit.cost.folders import INDICATORS, RUNTIMES
from paretovit.cost.formulas import vit_counts
from paretovit.cost.indicators import Indicator
from paretovit.cost.live_bytes import predicted_peak
from paretovit.cost.measure import Care, Progress, conditions_of, measure
from paretovit.cost.subject import Setting, Subject
from paretovit.devices import check_device, num_threads
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement, median
from paretovit.optimize.bracket import Ratio
from paretovit.optimize.predict import LatencyPredictor, Prediction
from paretovit.spec import ModelSpec, Stage
from paretovit.store import Store
from paretovit.zoo.factors import factors_of

PEAKS = {"peak_bytes_infer": False, "peak_bytes_train": True}  # whether it is one of training
# of a candidate, of which there are some dozens: many short visits, for now and then the machine is slow for one
CARE = Care(rounds=21, sittings=3, visit_s=0.05, patience_s=5)
_FORETELLS = "macs"
_TRIES = 3  # measurements of a model until one is sound
_TOGETHER = 8  # models of a predictor that are measured side by side, and kept together
_WIDEST = 0.1  # half of an interval, as a share of its value, that a search still goes by
_DRIFT = 1.2  # times that the start may be slower than it was by itself; what is small suffers most when more is amiss
GO_ON = "what was measured and trained is kept, the same command goes on"


class Cost:
    """The cost of any model over that of the search's start, `start`, which it is measured beside.

    indicator     a count, a peak of memory (predicted for batches of that size, without a device), a time or a rate;
                  for a rate the inverse is taken, so that every cost grows with the size
    foretold      multiply-accumulates over those of the start, the same function as the cost where that is the cost;
                  after `learn`, the cost as a predictor has it

    A measured row is taken if it was made beside the start and is sound: not `contended`, the interval of its median,
    the start's drift taken out, within a tenth of it to either side, and that drift no more than a fifth. One that is
    not is measured again, thrice in all; then the model is refused, which a search that goes on finds in the rows, so
    that it takes the path that it was on. The start, by which all others are judged, is never refused for good, and is
    measured anew where it turns out to be faster than it was.

    Raises `UserError` for an unknown indicator, for one that no size changes, for a runtime that is not here, and, from
    any measurement, for a device that is gone.
    """

    def __init__(
        self,
        indicator: str,
        start: ModelSpec,
        store: Store,
        *,
        runtime: str = "torch_eager",
        device: str = "cpu",
        batch_size: int = 8,
        threads: int | None = None,
        progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
        care: Care = CARE,
    ) -> None:
        self.indicator, self.start, self.store, self.progress, self.care = indicator, start, store, progress, care
        self._sound: dict[str, Measurement] = {}
        self._predictor: LatencyPredictor | None = None
        self.kind: Indicator = INDICATORS[indicator]()
        self.setting = Setting(
            device=check_device(device), threads=threads or num_threads(), batch_size=batch_size, runtime=runtime
        )
        self.is_measured = self.kind.kind in ("timed", "once") and indicator not in PEAKS
        if runtime != "torch_eager" and not self.is_measured:
            raise UserError(f"{indicator} is the same on every runtime; leave out --runtime, or scale by latency_s")
        if self.is_measured and (missing := RUNTIMES[runtime].missing()):
            raise UserError(missing)
        self.foretold = _exact(start, _FORETELLS, batch_size)
        self.ratio: Ratio = self._measured if self.is_measured else self.foretold
        if not self.is_measured and indicator != _FORETELLS:
            self.ratio = _exact(start, indicator, batch_size)

    @property
    def unit(self) -> str:
        return self.kind.unit

    @property
    def where(self) -> str:
        """What a path says its cost is: "macs", "latency_s on onnxruntime"."""
        return f"{self.indicator} on {self.setting.runtime}" if self.is_measured else self.indicator

    def row(self, spec: ModelSpec) -> Measurement:
        """The cost itself. What is counted is counted, and kept with all other counts of the model; what is measured
        is measured unless the store has it."""
        if self.is_measured:
            return self._beside(spec)
        peaks = self.setting.batch_size if self.indicator in PEAKS else None
        if peaks is None and (known := self._known(spec)) is not None:
            return known
        rows = count([spec], batch_size=peaks)
        self.store.append([row for row in rows if not self.store.has(row.conditions, row.indicator)], [spec])
        return next(row for row in rows if row.indicator == self.indicator)

    def learn(self, specs: Sequence[ModelSpec]) -> float:
        """Measure these, and from now on foretell by a predictor fitted on them and the start; the factor within which
        it foretells nine models in ten. Those that cannot be measured are left out. Raises `UserError` if too few are
        left."""
        self.ahead(specs)
        known = {}
        for spec in (self.start, *specs):
            with suppress(Unmeasurable):
                known[spec] = self._measured(spec)
        self._predictor = predictor = LatencyPredictor.fit(list(known), list(known.values()))
        self.foretold = lambda spec: predictor.predict(spec).value
        return math.exp(predictor.margin)

    def ahead(self, specs: Sequence[ModelSpec]) -> None:
        """Measure side by side those that have no sound row, so that what is asked of them afterwards is there; nothing
        for a cost that is not measured."""
        left = list({spec.key: spec for spec in specs}.values()) if self.is_measured else []
        for _ in range(_TRIES):
            left = [spec for spec in left if len(rows := self._rows(spec)) < _TRIES and _settled(rows) is None]
            for at in range(0, len(left), _TOGETHER):
                self._measure(left[at : at + _TOGETHER])

    def interval(self, spec: ModelSpec) -> Interval:
        """Where `ratio` may lie: both medians of 95% of redrawn rounds and those of every sitting, the start's drift
        taken out, and at least `RESOLUTION` to each side. The ratio itself where it is exact. Raises as `ratio` does.
        """
        ratio = self.ratio(spec)
        if not self.is_measured or spec.key == self.start.key:
            return ratio, ratio
        row = self._beside(spec)
        rounds = _beside_anchor(row)
        if rounds is None:
            return UNKNOWN
        low, high = of_rounds(rounds, row.origin.timing.get("sittings", 1))
        if not self.kind.lower_is_better:
            low, high = 1 / high, 1 / low
        return min(low, ratio * (1 - RESOLUTION)), max(high, ratio * (1 + RESOLUTION))

    def predicted(self, spec: ModelSpec) -> Prediction | None:
        """The cost over that of the start, if anything was learned to foretell it by; the start's own needs none."""
        if self._predictor is None or spec.key == self.start.key:
            return None
        return self._predictor.predict(spec)

    def _measured(self, spec: ModelSpec) -> float:
        start = self._beside(self.start)
        ours = start if spec.key == self.start.key else self._beside(spec)
        if ours.value is None or start.value is None:
            raise Unmeasurable(ours.why or start.why)
        if ours is start:
            return 1.0
        # over what the start took in the same rounds, so that a drift of the machine cancels
        return _over(ours.value, median(ours.origin.timing.get("anchor_rounds", (start.value,))), self.indicator)

    def _beside(self, spec: ModelSpec) -> Measurement:
        """A sound row of a measured indicator, from the store or measured now; one without a value if there is none."""
        if spec.key in self._sound:
            return self._sound[spec.key]
        tried = self._rows(spec)
        tries = 0 if spec.key == self.start.key else len(tried)
        while (found := _settled(tried)) is None and tries < _TRIES:
            self._measure([spec])
            tried, tries = self._rows(spec), tries + 1
        if found is None:
            return replace(tried[-1], value=None, why=_unsound(tried[-_TRIES:]))
        self._sound[spec.key] = found
        return found

    def _known(self, spec: ModelSpec) -> Measurement | None:
        rows = self._rows(spec)
        return rows[-1] if rows else None

    def _rows(self, spec: ModelSpec) -> list[Measurement]:
        """All measurements of a model, oldest first; of any but the start those that were made beside it."""
        wanted = conditions_of(spec, self.kind, self.setting)
        rows = [row for row in self.store.rows(self.indicator, spec=spec.key, every=True) if row.conditions == wanted]
        if spec.key == self.start.key:
            return rows
        # a row's reference is a value of its anchor's; two different models do not share one to the last digit
        references = {row.value for row in self._rows(self.start)}
        return [row for row in rows if row.origin.timing.get("anchor_reference") in (None, *references)]

    def _measure(self, specs: Sequence[ModelSpec]) -> None:
        """One measurement of each beside the start, and the start's first, kept only if the device is still there."""
        if not self._rows(self.start):
            specs = [self.start, *(spec for spec in specs if spec.key != self.start.key)]
        rows = self._taken(specs)
        failed = any(row.value is None and row.conditions.spec != self.start.key for row in rows)
        if failed and self.setting.device != "cpu":
            # what fails where the start ran before, fails by itself, unless the start fails there now as well
            (again,) = self._taken([self.start])
            if again.value is None:
                raise UserError(f"{self.setting.device} is gone ({again.why}); {GO_ON}")
        self.store.append(rows, specs)
        if any(_drift(row) < 1 / _DRIFT for row in rows):
            (again,) = self._taken([self.start])
            before = self._rows(self.start)[-1].value
            if again.value is not None and (before is None or _over(again.value, before, self.indicator) < 1):
                self.store.append([again], [self.start])

    def _taken(self, specs: Sequence[ModelSpec]) -> list[Measurement]:
        """Their rows, measured as if the store had none but that of the start."""
        keys = {spec.key for spec in specs}
        others = [spec for spec in specs if spec.key != self.start.key]
        with Store("sqlite://") as scratch, self.progress() as shown:
            if others:
                scratch.append(self._rows(self.start)[-1:], [self.start])
            try:
                measure(
                    [self.start, *others],
                    indicators=[self.indicator],
                    runtimes=[self.setting.runtime],
                    device=self.setting.device,
                    threads=self.setting.threads,
                    batch_size=self.setting.batch_size,
                    store=scratch,
                    care=self.care,
                    progress=shown,
                )
            except UserError as error:
                raise UserError(f"{error}; {GO_ON}") from error
            return [row for row in scratch.rows(self.indicator) if row.conditions.spec in keys]


def _settled(rows: Sequence[Measurement]) -> Measurement | None:
    """The newest row that is sound, or else that says why the model cannot be run at all."""
    sound = (row for row in reversed(rows) if row.value is None or is_sound(row))
    return next(sound, None)


def is_sound(row: Measurement) -> bool:
    """Whether a measured value can be gone by: nobody else used the machine, which was as fast as before, and its
    interval is narrow enough. A row that keeps no rounds has nothing that speaks against it."""
    timing = row.origin.timing
    if row.value is None or timing.get("contended") or _drift(row) > _DRIFT:
        return False
    rounds = _beside_anchor(row)
    if rounds is None:
        return True
    low, high = bootstrap_median(rounds)
    return high - low <= 2 * _WIDEST * float(np.median(rounds))


def _beside_anchor(row: Measurement) -> NDArray[np.float64] | None:
    """The samples (rounds, repeats), over what the anchor took in the same round, for what both felt is no spread; None
    where no rounds are kept."""
    timing = row.origin.timing
    count = timing.get("rounds", 0)
    if not count or len(row.samples) % count:
        return None
    rounds = np.asarray(row.samples, float).reshape(count, -1)
    if len(timing.get("anchor_rounds", ())) == count:
        rounds = rounds / np.reshape(timing["anchor_rounds"], (count, 1))
    return rounds


def _drift(row: Measurement) -> float:
    """Times that the anchor took longer beside it than by itself; 1 where no anchor is kept."""
    timing = row.origin.timing
    beside, before = timing.get("anchor_rounds"), timing.get("anchor_reference")
    if not beside or not before:
        return 1.0
    return _over(median(beside), before, row.indicator)


def _over(value: float, other: float, indicator: str) -> float:
    """The one cost over the other; of a rate the inverse."""
    return value / other if INDICATORS[indicator].lower_is_better else other / value


def _unsound(rows: Sequence[Measurement]) -> str:
    busy = sum(bool(row.origin.timing.get("contended")) for row in rows)
    if busy:
        return f"others kept the machine busy in {busy} of {len(rows)} measurements; search on a quieter one"
    if slow := sum(_drift(row) > _DRIFT for row in rows):
        return f"the machine slowed down in {slow} of {len(rows)} measurements; search on a quieter one"
    return f"{len(rows)} measurements spread by more than {_WIDEST:.0%} to either side; search on a quieter machine"


def cost_kind(indicator: str) -> Literal["static", "peak", "timed"]:
    """Whether it is counted, predicted, or measured. Raises `UserError` for an unknown indicator, and for one that a
    size cannot be chosen by."""
    if indicator in PEAKS:
        return "peak"
    kind = INDICATORS[indicator].kind
    if kind not in ("static", "timed"):
        raise UserError(f"{indicator} cannot be matched; use a count, a time, a rate or a peak of memory")
    return kind


def ratio_to(target: ModelSpec, indicator: str, *, batch_size: int = 8) -> Ratio:
    """A count of any spec over that of the target, or a peak of memory, predicted for batches of that size, without a
    device; what is asked for twice is worked out once. Raises `UserError` for an indicator that is neither, and for one
    that is 0."""

    def cost(spec: ModelSpec) -> float:
        if indicator in PEAKS:
            return float(predicted_peak(spec, batch_size=batch_size, training=PEAKS[indicator]))
        return INDICATORS[indicator]()(Subject(spec, Setting()))[0]

    if cost_kind(indicator) == "timed":
        raise UserError(f"{indicator} is measured, so it cannot be known without running the model")
    whole = cost(target)
    if not whole:
        raise UserError(f"{indicator} of {target.name} is 0, which nothing can be matched to")
    return cache(lambda spec: cost(spec) / whole)


def _exact(start: ModelSpec, indicator: str, batch_size: int) -> Ratio:
    """A count or a predicted peak over that of the start; counts of plain ViTs by closed formula, the same number a
    thousand times sooner."""
    counted = ratio_to(start, indicator, batch_size=batch_size)
    whole = _by_formula(start).get(indicator)
    if whole is None:
        return counted

    def ratio(spec: ModelSpec) -> float:
        ours = _by_formula(spec).get(indicator)
        return counted(spec) if ours is None else ours / whole

    return ratio


def _by_formula(spec: ModelSpec) -> dict[str, float]:
    """Counts of a model that is nothing but a plain ViT; empty for any other."""
    try:
        layers, heads, head_dim, ratio, image_px, patch_px = factors_of(spec)
    except UserError:
        return {}
    (stage,) = spec.stages
    plain = ModelSpec(
        name=spec.name,
        stages=(Stage(depth=layers, heads=heads, dim=heads * head_dim, mlp=stage.mlp),),
        readout=spec.readout,
        init=spec.init,
        image_px=image_px,
        patch_px=patch_px,
        in_chans=spec.in_chans,
        num_classes=spec.num_classes,
    )
    named = (spec.readout.name, stage.mlp.name if stage.mlp is not None else "")
    if spec != plain or spec.readout.options or named not in (("class_token", "mlp"), ("mean", "mlp")):
        return {}
    counts = vit_counts(
        depth=layers,
        heads=heads,
        head_dim=head_dim,
        mlp_ratio=ratio,
        image_px=image_px,
        patch_px=patch_px,
        num_classes=spec.num_classes,
        in_chans=spec.in_chans,
        class_token=spec.readout.name == "class_token",
    )
    return {name: float(value) for name, value in counts.items()}
