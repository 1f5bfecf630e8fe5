"""Takes the place of `measure` where a search measures: times by formula, on a machine as bad as a test asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from random import Random

from paretovit.cost.measure import conditions_of
from paretovit.devices import origin
from paretovit.measurement import Measurement, median
from paretovit.optimize.scale_cost import Cost
from paretovit.spec import ModelSpec
from paretovit.store import Store


class ScriptedMeasure:
    """Rows of `latency`, seconds by spec, as `measure` makes them: in rounds beside the first model, whose row comes
    first. All but that one run on a machine that is a tenth slower, which the anchor shows.

    measured    keys of the models, in the order in which they were measured; `runs` has them by call
    broken      part of the names of models whose process ends
    busy        measurements of each model that others disturb
    wide        part of the names of models whose rounds spread
    slow        calls in which the machine is half as fast for the first model, and less slow for the others
    gone_after  measurements after which every process ends
    noise       deviation of the logarithm of every sample
    killed_at   the call that is interrupted
    """

    def __init__(
        self,
        latency: Callable[[ModelSpec], float],
        *,
        broken: str = "",
        busy: int = 0,
        wide: str = "",
        slow: Collection[int] = (),
        gone_after: int | None = None,
        noise: float = 0.0,
        killed_at: int | None = None,
        rounds: int = 3,
        sittings: int = 1,
        seed: int = 0,
    ) -> None:
        self.latency, self.noise, self.rounds, self.sittings = latency, noise, rounds, sittings
        self.broken, self.busy, self.wide, self.gone_after, self.killed_at = broken, busy, wide, gone_after, killed_at
        self.slow = slow
        self.measured: list[str] = []
        self.runs: list[list[str]] = []
        self.random = Random(seed)

    def __call__(
        self, specs: Sequence[ModelSpec], *, store: Store, indicators, threads, batch_size, device, runtimes, **others
    ) -> None:
        if len(self.runs) == self.killed_at:
            raise KeyboardInterrupt
        amiss = len(self.runs) in self.slow
        self.runs.append([])
        (indicator,), anchor = indicators, specs[0]
        cost = Cost(indicator, anchor, store, runtime=runtimes[0], threads=threads, batch_size=batch_size)
        for spec in specs:
            wanted = conditions_of(spec, cost.kind, cost.setting)
            if store.has(wanted, indicator):
                continue
            self.measured.append(spec.key)
            self.runs[-1].append(spec.key)
            gone = self.gone_after is not None and len(self.measured) > self.gone_after
            slow = 1.0 if spec.key == anchor.key else 1.1
            of_anchor, of_others = (2.0, 1.4) if amiss else (slow, slow)
            anchor_rounds = self._samples(of_anchor * self.latency(anchor), self.rounds, 0.0)
            spread = 0.5 if self.wide and self.wide in spec.name else 0.01
            own = of_anchor if spec.key == anchor.key else of_others
            samples = self._samples(own * self.latency(spec), self.rounds, spread)
            if not cost.kind.lower_is_better:
                anchor_rounds, samples = [1 / s for s in anchor_rounds], [1 / s for s in samples]
            before = store.rows(indicator, spec=anchor.key)
            timing = {
                "anchor_rounds": anchor_rounds,
                "anchor_reference": before[-1].value if before else median(anchor_rounds),
                "rounds": self.rounds,
                "sittings": self.sittings,
                "contended": self.measured.count(spec.key) <= self.busy,
            }
            broken = gone or (bool(self.broken) and self.broken in spec.name)
            row = Measurement(
                model=spec.name,
                indicator=indicator,
                unit=cost.unit,
                value=None if broken else median(samples),
                samples=() if broken else tuple(samples),
                conditions=wanted,
                origin=replace(origin("measured"), timing=timing),
                why="the process ended" if broken else "",
            )
            store.append([row], [spec])

    def _samples(self, seconds: float, rounds: int, spread: float) -> list[float]:
        """One of each round, evenly within the spread, times noise."""
        places = [2 * at / (rounds - 1) - 1 for at in range(rounds)]
        return [seconds * (1 + spread * place) * math.exp(self.random.gauss(0, self.noise)) for place in places]
