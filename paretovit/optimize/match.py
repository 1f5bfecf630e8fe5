"""A model made as dear as another in one cost, in several ways: by its width, depth, patches or images.

Paper    Dehghani et al. 2021, "The Efficiency Misnomer", sec. 3.2: two models that were made equal in one cost are
         equal in no other, and how far apart they are depends on the way in which one of them was resized.
Equal    A count and a predicted peak of memory are exact, and equal within 1%. What is measured has an interval: it is
         equal where that covers equality, and how far off it may be at most is said with it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from paretovit.analysis.intervals import Interval
from paretovit.cost.count import count
from paretovit.cost.folders import INDICATORS, RUNTIMES
from paretovit.cost.measure import Care, Progress, conditions_of, measure
from paretovit.cost.subject import Setting
from paretovit.devices import check_device, num_threads
from paretovit.errors import Unmeasurable, UserError, unknown
from paretovit.measurement import Measurement
from paretovit.optimize.bracket import Ratio, guess, nearest, next_made, side_by_side
from paretovit.optimize.resize import WAYS, described, shapes, sizes_of
from paretovit.optimize.scale_cost import CARE, Cost, cost_kind, ratio_to
from paretovit.spec import ModelSpec, to_json
from paretovit.store import Store

TOLERANCE = 0.01
_MEASURED = 5  # sizes that are measured at most for one way
_SPOKEN = {"peak_bytes": "peak_bytes_infer"}  # what a shorter name stands for
_LINE = 100


@dataclass(frozen=True)
class Match:
    """The model nearest to the target in one way.

    ratio     its cost over the target's; of rates the inverse
    tried     sizes whose cost was asked for
    interval  where a measured ratio may lie; None where it is exact
    why       what ended the search before there was a nearest size, if anything did
    """

    by: str
    spec: ModelSpec
    ratio: float
    tried: int
    interval: Interval | None = None
    why: str = ""

    @property
    def reached(self) -> bool:
        """Whether the costs are equal: within 1%, or, where they are measured, not told apart."""
        low, high = self.interval or (self.ratio, self.ratio)
        return low <= 1 <= high or abs(self.ratio - 1) <= TOLERANCE

    @property
    def within(self) -> float:
        """How far from equal the costs are at most, as a share of the target's."""
        return max(abs(bound - 1) for bound in self.interval or (self.ratio,))

    def __str__(self) -> str:
        found = _apart(self.ratio)
        if self.interval is not None:
            found += f" ({_apart(self.interval[0])} to {_apart(self.interval[1])})"
        if not self.reached:
            found = f"out of reach, the nearest is {found}"
        elif self.interval is None:
            found = f"equal, {found}"
        else:
            found = f"equal within {_short(100 * self.within)}%, {found}"
        return f"{described(self.spec)}: {found}{'; ' if self.why else ''}{self.why}"


@dataclass(frozen=True)
class Group:
    """The baseline made as dear as a target in `indicator`, once for each way; `rows` is what they all cost."""

    indicator: str
    baseline: ModelSpec
    target: ModelSpec
    before: float
    matches: tuple[Match, ...]
    rows: tuple[Measurement, ...]

    @property
    def specs(self) -> list[ModelSpec]:
        """The target, and what the baseline was made; each model once."""
        return _each_once(self.target, self.matches)

    def lines(self) -> list[str]:
        """What was made of the baseline, in words; lines of at most 100 characters."""
        before = f"{self.baseline.name}, which is {_short(self.before)} times as dear,"
        first = f"As dear as {self.target.name} in {self.indicator}: {before} resized by"
        made = [f"  {match.by:10}  {match}" for match in self.matches]
        return [
            textwrap.fill(line, _LINE, subsequent_indent=" " * indent, break_on_hyphens=False)
            for line, indent in [(first, 2), *((line, 14) for line in made)]
        ]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "indicator": self.indicator,
            "baseline": self.baseline.name,
            "target": self.target.name,
            "ratio_before": self.before,
            "ways": [
                {
                    "by": match.by,
                    "model": match.spec.name,
                    "ratio": match.ratio,
                    "interval": match.interval,
                    "reached": match.reached,
                    "tried": match.tried,
                    "why": match.why,
                    "spec": to_json(match.spec),
                }
                for match in self.matches
            ],
        }


def match_all(
    specs: Sequence[ModelSpec],
    indicator: str | None,
    *,
    ways: Sequence[str] | None = None,
    also: Sequence[str] = (),
    store: Store | None = None,
    runtime: str = "torch_eager",
    device: str = "cpu",
    threads: int | None = None,
    batch_size: int = 8,
    progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
    care: Care = CARE,
) -> list[Group]:
    """The first model made as dear in the indicator as each other one, in each of the ways; none without an indicator.

    A group's rows are all counts and predicted peaks of memory, the indicator itself where it is measured, and `also`,
    indicators that are measured of the target and of all that was made. What is measured becomes rows of `store`, and
    what it has is not measured again, so that an interrupted run goes on; of progress `progress` makes who is told.
    Raises `UserError` as `matched` and `Cost` do, where there is no second model, and where a time of one that is to be
    matched cannot be had.
    """
    if indicator is None:
        if also:
            raise UserError("--measure goes with --match; run `paretovit measure` for the models as they are")
        return []
    if len(specs) < 2:
        raise UserError("name the model that is to be resized, and after it those that it is to be as dear as")
    for way in ways or ():
        if way not in WAYS:
            raise unknown("way to resize a model", way, WAYS)
    for folder, names in ((INDICATORS, also), (RUNTIMES, [runtime])):
        for name in names:
            folder.fact(name, "title")  # an unknown name is said before anything is measured
    indicator = _SPOKEN.get(indicator, indicator)
    kind = cost_kind(indicator)
    shapes(specs[0])
    setting = Setting(
        runtime=runtime, device=check_device(device), threads=threads or num_threads(), batch_size=batch_size
    )
    with nullcontext(store) if store is not None else Store("sqlite://") as kept:
        groups = []
        for target in specs[1:]:
            rows: list[Measurement] = []
            if kind == "timed":
                cost = Cost(
                    indicator, target, kept, runtime=runtime, device=device, threads=threads, batch_size=batch_size,
                    progress=progress, care=care,
                )  # fmt: skip
                before, matches = _measured(specs[0], ways or WAYS, cost)
                rows += [cost.row(spec) for spec in _each_once(target, matches)]
            else:
                ratio = ratio_to(target, indicator, batch_size=batch_size)
                before, matches = ratio(specs[0]), tuple(matched(specs[0], ratio, by=way) for way in ways or WAYS)
            shown, others = _each_once(target, matches), [name for name in also if name != indicator]
            rows = [*count(shown, batch_size=batch_size), *rows]
            rows += _besides(shown, others, kept, setting, progress, care)
            groups.append(Group(indicator, specs[0], target, before, matches, tuple(rows)))
    return groups


def measures(indicator: str | None, also: Sequence[str] = ()) -> bool:
    """Whether `match_all` would measure anything. Raises `UserError` for an indicator that cannot be matched."""
    return bool(also) or (indicator is not None and cost_kind(_SPOKEN.get(indicator, indicator)) == "timed")


def matched(spec: ModelSpec, ratio: Ratio, *, by: str) -> Match:
    """The spec resized so that `ratio`, its exact cost over that of a target, is as near to 1 as integers allow.

    The cost is taken to grow (patches: fall) with the size; the search asks for some ten costs. Raises `UserError` as
    `sizes_of` does, and where no size makes a model.
    """
    sizes = sizes_of(spec, by)
    found = nearest(sizes, ratio, rising=_rises(by))
    if found is None:
        raise _no_model(spec, by)
    best, value, tried = found
    return Match(by, sizes[best], value, tried)


def _measured(baseline: ModelSpec, ways: Sequence[str], cost: Cost) -> tuple[float, tuple[Match, ...]]:
    """What the baseline costs over the search's target, and what it was made in each way. The sizes that all ways ask
    for next are measured side by side."""
    try:
        cost.ahead([baseline])
        before = cost.ratio(baseline)
    except Unmeasurable as error:
        raise UserError(f"{cost.where} of {baseline.name} beside {cost.start.name} cannot be had: {error}") from error
    found = side_by_side({way: _search(baseline, way, cost) for way in ways}, cost.ahead)
    return before, tuple(found.values())


def _search(baseline: ModelSpec, by: str, cost: Cost) -> Generator[ModelSpec, None, Match]:
    """Asks for a size, and goes on when that has been measured; returns the match.

    It ends where the interval of a ratio covers equality, where the size beyond the nearest one has been measured, too,
    or after so many sizes. The baseline itself is one of them.
    """
    sizes, rising = sizes_of(baseline, by), _rises(by)
    start = Match(by, baseline, cost.ratio(baseline), 0, cost.interval(baseline))
    found = {place: start for place, size in enumerate(sizes) if size.key == baseline.key}
    known = [(math.log(cost.foretold(baseline)), math.log(start.ratio))]
    tried, why = 0, ""
    while tried < _MEASURED and not any(match.reached for match in (start, *found.values())):
        place = guess(sizes, cost.foretold, known, 1.0, rising=rising)
        if place is None:
            raise _no_model(baseline, by)
        if place in found:
            place = next_made(sizes, cost.foretold, place, 1 if (found[place].ratio < 1) == rising else -1)
        if place is None or place in found:
            break
        yield sizes[place]
        tried += 1
        try:
            ratio = cost.ratio(sizes[place])
        except Unmeasurable as error:
            why = f"{described(sizes[place])} could not be measured: {error}"
            break
        found[place] = Match(by, sizes[place], ratio, tried, cost.interval(sizes[place]))
        known.append((math.log(cost.foretold(sizes[place])), math.log(ratio)))
    return replace(min((start, *found.values()), key=lambda match: match.within), tried=tried, why=why)


def _besides(
    specs: Sequence[ModelSpec],
    indicators: Sequence[str],
    store: Store,
    setting: Setting,
    progress: Callable[[], AbstractContextManager[Progress | None]],
    care: Care,
) -> list[Measurement]:
    """Rows of indicators that are measured of models made equal in another; those that the store has, from there."""
    if not indicators:
        return []
    with progress() as shown:
        measure(
            specs,
            indicators=indicators,
            runtimes=[setting.runtime],
            device=setting.device,
            threads=setting.threads,
            batch_size=setting.batch_size,
            store=store,
            care=care,
            progress=shown,
        )
    return [
        row
        for spec in specs
        for name in indicators
        for row in store.rows(name, spec=spec.key)
        if row.conditions == conditions_of(spec, INDICATORS[name](), setting)
    ]


def _each_once(target: ModelSpec, matches: Sequence[Match]) -> list[ModelSpec]:
    return list({spec.key: spec for spec in (target, *(match.spec for match in matches))}.values())


def _rises(by: str) -> bool:
    """Whether a cost grows with the size that this way changes."""
    return by != "patch"


def _no_model(spec: ModelSpec, by: str) -> UserError:
    return UserError(f"{spec.name} makes no model when it is resized by its {by}; choose another way")


def _short(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _apart(ratio: float) -> str:
    """The ratio in words: "0.7% dearer"."""
    if ratio == 1:
        return "exactly"
    return f"{_short(abs(ratio - 1) * 100)}% {'dearer' if ratio > 1 else 'cheaper'}"
