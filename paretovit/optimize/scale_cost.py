"""What a scaled model costs: counted, predicted, or measured on the device; measured once, and kept as a row."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from paretovit.cost.count import count
from paretovit.cost.folders import INDICATORS, RUNTIMES
from paretovit.cost.formulas import vit_counts
from paretovit.cost.indicators import Indicator
from paretovit.cost.measure import Care, Progress, conditions_of, measure
from paretovit.cost.subject import Setting
from paretovit.devices import check_device, num_threads
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Measurement, median
from paretovit.optimize.match import PEAKS, Ratio, ratio_to
from paretovit.spec import ModelSpec, Stage
from paretovit.store import Store
from paretovit.zoo.factors import factors_of

_CARE = Care(rounds=9, sittings=3, patience_s=5)  # of a candidate, of which there are some dozens
_FORETELLS = "macs"


class Cost:
    """The cost of any model over that of the search's start, `start`, which it is measured beside.

    indicator     a count, a peak of memory (predicted for batches of that size, without a device), a time or a rate;
                  for a rate the inverse is taken, so that every cost grows with the size
    foretold      multiply-accumulates over those of the start; the same function as the cost where that is the cost

    A measured row of the store is taken as it is, so that a search that goes on takes the path that it was on. Raises
    `UserError` for an unknown indicator, for one that no size changes, and for a runtime that is not here.
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
        care: Care = _CARE,
    ) -> None:
        self.indicator, self.start, self.store, self.progress, self.care = indicator, start, store, progress, care
        self.kind: Indicator = INDICATORS[indicator]()
        self.setting = Setting(
            device=check_device(device), threads=threads or num_threads(), batch_size=batch_size, runtime=runtime
        )
        self.is_timed = self.kind.kind == "timed"
        if runtime != "torch_eager" and not self.is_timed:
            raise UserError(f"{indicator} is the same on every runtime; leave out --runtime, or scale by latency_s")
        if self.is_timed and (missing := RUNTIMES[runtime].missing()):
            raise UserError(missing)
        self.foretold = _exact(start, _FORETELLS, batch_size)
        self.ratio: Ratio = self._measured if self.is_timed else self.foretold
        if not self.is_timed and indicator != _FORETELLS:
            self.ratio = _exact(start, indicator, batch_size)

    @property
    def unit(self) -> str:
        return self.kind.unit

    @property
    def where(self) -> str:
        """What a path says its cost is: "macs", "latency_s on onnxruntime"."""
        return f"{self.indicator} on {self.setting.runtime}" if self.is_timed else self.indicator

    def row(self, spec: ModelSpec) -> Measurement:
        """The cost itself. What is counted is counted, and kept with all other counts of the model; what is measured
        is measured unless the store has it."""
        if self.is_timed:
            return self._beside(spec)
        peaks = self.setting.batch_size if self.indicator in PEAKS else None
        if peaks is None and (known := self._known(spec)) is not None:
            return known
        rows = count([spec], batch_size=peaks)
        self.store.append([row for row in rows if not self.store.has(row.conditions, row.indicator)], [spec])
        return next(row for row in rows if row.indicator == self.indicator)

    def _measured(self, spec: ModelSpec) -> float:
        start = self._beside(self.start)
        ours = start if spec.key == self.start.key else self._beside(spec)
        if ours.value is None or start.value is None:
            raise Unmeasurable(ours.why or start.why)
        if ours is start:
            return 1.0
        # what the anchor took in the same rounds, over what it took when it was first measured: the machine's drift
        timing = ours.origin.timing
        drift = median(timing["anchor_rounds"]) / timing["anchor_reference"] if "anchor_rounds" in timing else 1.0
        ratio = ours.value / drift / start.value
        return ratio if self.kind.lower_is_better else 1 / ratio

    def _beside(self, spec: ModelSpec) -> Measurement:
        """The row of a timed indicator, from the store or measured now."""
        known = self._known(spec)
        if known is None:
            self._measure(spec)
            known = self._known(spec)
        assert known is not None, "what is measured becomes a row, if only one that says why it has no value"
        return known

    def _known(self, spec: ModelSpec) -> Measurement | None:
        wanted = conditions_of(spec, self.kind, self.setting)
        rows = [row for row in self.store.rows(self.indicator, spec=spec.key) if row.conditions == wanted]
        return rows[-1] if rows else None

    def _measure(self, spec: ModelSpec) -> None:
        with self.progress() as shown:
            measure(
                [self.start, spec] if spec.key != self.start.key else [spec],
                indicators=[self.indicator],
                runtimes=[self.setting.runtime],
                device=self.setting.device,
                threads=self.setting.threads,
                batch_size=self.setting.batch_size,
                store=self.store,
                care=self.care,
                progress=shown,
            )


def _exact(start: ModelSpec, indicator: str, batch_size: int) -> Ratio:
    """A count or a predicted peak over that of the start; counts of plain ViTs by closed formula, the same number a
    thousand times sooner."""
    counted = ratio_to(start, indicator, batch_size=batch_size)
    if indicator not in _by_formula(start):
        return counted
    whole = _by_formula(start)[indicator]
    return lambda spec: _by_formula(spec)[indicator] / whole


def _by_formula(spec: ModelSpec) -> dict[str, float]:
    """Counts of a model that is nothing but a plain ViT; empty for any other."""
    (stage,) = spec.stages
    layers, heads, head_dim, ratio, image_px, patch_px = factors_of(spec)
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
