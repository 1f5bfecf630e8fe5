"""Which models to favor under bounds, and why: the answer as values, as JSON, and in words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from paretovit.analysis.bounds import Bound, Choice, Trade, choose, next_trade
from paretovit.analysis.intervals import Interval, tells_apart
from paretovit.errors import UserError, unknown
from paretovit.report.figures import capital
from paretovit.report.headings import Heading, Sheet, described, sheet_of
from paretovit.report.numbers import number
from paretovit.report.pick import Condition, pick
from paretovit.report.quantities import quantity
from paretovit.report.verdict import listed
from paretovit.report.weights import with_costs
from paretovit.store import Column, Store, arrange
from paretovit.training.rows import QUALITIES

# What ranks where no bound names a quality, and what it is held against where none names a cost.
_QUALITIES = tuple(name for name, (_, _, lower_is_better) in QUALITIES.items() if not lower_is_better)
_COSTS = ("latency_s", "images_per_s", "macs", "params")
_TIES = 5  # models that cannot be told apart from the front, that the table shows
_WIDTH = 100
_NEAREST = 3  # of the excluded, that a sentence names


@dataclass(frozen=True)
class Wanted:
    """A bound in words: `indicator` is to be at most, or at least, what `limit` says."""

    indicator: str
    limit: str
    at_most: bool


@dataclass(frozen=True)
class Answer:
    """The choice among the lines of `sheet`; `columns` are what counted, the first one ranks."""

    sheet: Sheet
    columns: tuple[Heading, ...]
    bounds: tuple[Bound, ...]
    choice: Choice
    trade: Trade | None

    def value(self, at: int, column: int) -> float:
        return self.sheet.values(self.columns[column])[at]

    def to_json(self) -> dict[str, Any]:
        """The bounds, who is ranked and tied, whom each bound excludes and by how much, and the next trade."""
        return {
            "columns": [
                {
                    "indicator": h.column.indicator,
                    "lower_is_better": h.lower_is_better,
                    "conditions": h.column.conditions.to_json(),
                }
                for h in self.columns
            ],
            "bounds": [self._bound_json(at) for at in range(len(self.bounds))],
            "ranked": [self._model(at) for at in self.choice.ranked],
            "tied": [self._model(at) for at in self.choice.tied],
            "next_trade": None if self.trade is None else self._model(self.trade.to) | {"excess": self.trade.excess},
            "models": len(self.known),
            "unknown": [line.name for at, line in enumerate(self.sheet.table.lines) if at not in self.known],
        }

    @cached_property
    def known(self) -> frozenset[int]:
        """Models with a value in every column that claims something; of the others nothing can be said."""
        return frozenset(
            map(int, np.flatnonzero(~np.isnan([_values(self.sheet, h) for h in self.columns]).any(axis=0)))
        )

    def excluded(self, bound: int) -> list[int]:
        """Whom the bound excludes of those that are known, the nearest first."""
        found = [at for at in self.known if self.choice.holding[at][bound] == "fails"]
        column = self.bounds[bound].column
        return sorted(found, key=lambda at: self.bounds[bound].excess(self.value(at, column)))

    def alone(self, bound: int) -> list[int]:
        """Those of them that keep every other bound."""
        others = [b for b in range(len(self.bounds)) if b != bound]
        return [
            at
            for at in self.excluded(bound)
            if all(self.choice.holding[at][b] in ("holds", "within noise") for b in others)
        ]

    def _model(self, at: int) -> dict[str, Any]:
        sheet = self.sheet
        return {
            "model": sheet.table.lines[at].name,
            "spec": sheet.table.lines[at].key,
            "values": {h.column.indicator: sheet.values(h)[at] for h in self.columns},
            "intervals": {
                h.column.indicator: [end if math.isfinite(end) else None for end in sheet.intervals(h)[at]]
                for h in self.columns
            },
            "bounds": list(self.choice.holding[at]),
        }

    def _bound_json(self, at: int) -> dict[str, Any]:
        bound = self.bounds[at]
        column = self.columns[bound.column]
        return {
            "indicator": column.column.indicator,
            "max" if bound.at_most else "min": bound.limit,
            "excludes": len(self.excluded(at)),
            "excludes_alone": [self._model(model) for model in self.alone(at)],
        }


def wanted(at_most: Iterable[str], at_least: Iterable[str]) -> list[Wanted]:
    """`INDICATOR=LIMIT` as bounds. Raises `UserError` for other words, and where there is none."""
    found = []
    for words, flag in ((at_most, "--max"), (at_least, "--min")):
        for word in words:
            name, equals, limit = word.partition("=")
            if not (name and equals and limit):
                raise UserError(f"{word!r} is no bound; write it like {flag} latency_s=20ms")
            found.append(Wanted(name.strip(), limit, flag == "--max"))
    if not found:
        raise UserError("say at least one bound, such as --max latency_s=20ms or --min top1=0.8")
    return found


def favor(
    store: Store,
    bounds: Sequence[Wanted],
    *,
    where: Sequence[Condition] = (),
    by: Sequence[str] = (),
    epsilon: float = 0.0,
) -> Answer:
    """Who of the store's models keeps the bounds and is Pareto-optimal in what they are about.

    What they are about is every indicator that a bound or `by` names; an accuracy is added where they name none, and a
    cost likewise. The accuracy ranks. `where` chooses among columns of one indicator (`pick`). Raises `UserError` for
    unknown names, limits that are no numbers, and columns that would mix conditions.
    """
    known, names = store.indicators(), dict.fromkeys([*(b.indicator for b in bounds), *by])
    for name in names:
        if name not in known:
            raise unknown("indicator in this store", name, known)
    if epsilon < 0:
        raise UserError(f"epsilon must be at least 0, got {epsilon}")
    names = dict.fromkeys([*names, *_lacking(list(names), known)])
    rows, specs = [row for name in names for row in store.rows(name)], store.specs()
    every = sheet_of(arrange(rows, specs=specs))
    chosen = {_seedless(pick(every, name, where).column) for name in names}
    kept = [row for row in rows if _seedless(Column(row.indicator, row.conditions.column())) in chosen]
    sheet = sheet_of(arrange(with_costs(kept, specs), specs=specs))
    columns = tuple(sorted((pick(sheet, name) for name in names), key=lambda h: not h.is_quality))
    made = tuple(_bound(one, sheet, columns) for one in bounds)
    values = np.array([_values(sheet, h) for h in columns]).T
    intervals = list(zip(*(sheet.intervals(h) for h in columns), strict=True))
    directions = [-1 if h.lower_is_better else 1 for h in columns]
    choice = choose(values, intervals, directions, made, epsilon=epsilon)
    return Answer(sheet, columns, made, choice, next_trade(choice, values, intervals, directions, made))


def _seedless(column: Column) -> Column:
    """The column that it is part of where runs from several seeds are one."""
    return replace(column, conditions=replace(column.conditions, seed=None))


def _lacking(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """An accuracy where none is named, and a cost where only accuracies are, if the store has them."""
    found = []
    if not set(names) & set(_QUALITIES):
        found += [name for name in _QUALITIES if name in known][:1]
    if set(names) <= set(_QUALITIES):
        found += [name for name in _COSTS if name in known][:1]
    return found


def _bound(one: Wanted, sheet: Sheet, columns: Sequence[Heading]) -> Bound:
    at = next(at for at, h in enumerate(columns) if h.column.indicator == one.indicator)
    unit = next(row.unit for row in sheet.rows(columns[at]) if row is not None)
    limit = quantity(one.limit, unit)
    if columns[at].is_quality and not 0 <= limit <= 1:
        raise UserError(f"{one.indicator} is a share of 1: write {one.indicator}={limit:g}% or {limit / 100:g}")
    return Bound(at, limit, one.at_most)


def _values(sheet: Sheet, heading: Heading) -> list[float]:
    """NaN also for what was taken while others used the machine, for it claims nothing."""
    return [
        math.nan if row is None or row.value is None or row.origin.timing.get("contended") else row.value
        for row in sheet.rows(heading)
    ]


def answer_lines(answer: Answer) -> tuple[list[list[str]], list[str]]:
    """The ranked and the first of the tied as cells, and the names of their columns."""
    lines = []
    for rank, at in enumerate([*answer.choice.ranked, *answer.choice.tied[:_TIES]], start=1):
        cells = [f"{answer.sheet.labels[at]}{'' if rank <= len(answer.choice.ranked) else ' ~'}"]
        for column in range(len(answer.columns)):
            said = {answer.choice.holding[at][b] for b, one in enumerate(answer.bounds) if one.column == column}
            cells.append(_shown(answer, at, column) + (" ?" if "within noise" in said else ""))
            cells.append(_against(answer, at, answer.choice.ranked[0], column) if rank > 1 else "")
        lines.append(cells)
    heads = [[f"{h.name}\n{h.scale.unit}", "against\nthe first"] for h in answer.columns]
    return lines, ["model", *(head for pair in heads for head in pair)]


def answer_heading(answer: Answer) -> str:
    """A sentence: the bounds, and how many keep them; lines of at most 100 characters."""
    told = listed([_told(answer, bound) for bound in answer.bounds])
    kept, count = int(answer.choice.eligible.sum()), _models(len(answer.known))
    if not kept:
        return _wrapped(f"Of {count} none keeps {told}.")
    optimal = len(answer.choice.ranked)
    return _wrapped(
        f"Of {count} {kept:,} keep{'s' if kept == 1 else ''} {told}; {optimal:,} of them "
        f"{'is' if optimal == 1 else 'are'} Pareto-optimal in {listed([h.name for h in answer.columns])}."
    )


def answer_reasons(answer: Answer) -> list[str]:
    """Sentences: whom each bound excludes, what the next trade costs, who is left out, and what the columns are."""
    said = _marks(answer)
    for at, bound in enumerate(answer.bounds):
        excluded, alone = answer.excluded(at), answer.alone(at)
        sentence = f"{_told(answer, bound)} excludes {_models(len(excluded))}"
        if excluded and len(answer.bounds) > 1:
            sentence += f", {len(alone):,} of them by itself"
        near = [
            f"{answer.sheet.labels[model]} ({_shown(answer, model, bound.column)}, "
            f"{_percent(bound.excess(answer.value(model, bound.column)))} beyond)"
            for model in (alone or excluded)[:_NEAREST]
        ]
        said.append(f"{sentence}{f'; nearest: {listed(near)}' if near else ''}.")
    if answer.trade is not None:
        label, beyond = answer.sheet.labels[answer.trade.to], _percent(answer.trade.excess)
        if answer.choice.ranked:
            gains = [
                f"{_against(answer, answer.trade.to, answer.choice.ranked[0], at)} {h.name}"
                for at, h in enumerate(answer.columns)
            ]
            said.append(f"The next trade: {beyond} beyond the bounds is {label}, against the first {listed(gains)}.")
        else:
            said.append(f"The nearest is {label}, {beyond} beyond the bounds.")
    lacking = len(answer.sheet.labels) - len(answer.known)
    if lacking:
        what = listed([h.name for h in answer.columns])
        said.append(f"Left out: {_models(lacking)} without a number for {what}, or one that claims nothing.")
    said += [f"{h.name}: {described(h.column.conditions) or 'of the model alone'}." for h in answer.columns]
    spreadless = [h.name for h in answer.columns if _without_spread(answer, h)]
    if spreadless:
        said.append(f"Numbers of {listed(spreadless)} have no spread and are taken as they are.")
    return [_wrapped(capital(sentence)) for sentence in said]


def _marks(answer: Answer) -> list[str]:
    """What the marks in the table mean, as far as it has them."""
    said, shown = [], [*answer.choice.ranked, *answer.choice.tied[:_TIES]]
    if answer.choice.tied:
        more = len(answer.choice.tied) - _TIES
        also = f"; nor can {more:,} more" if more > 0 else ""
        said.append(f"~ cannot be told apart from the first, or from the Pareto-optimal ones, within the noise{also}.")
    if any("within noise" in answer.choice.holding[at] for at in shown):
        said.append("? the bound lies within the interval of the number: it is kept within the noise.")
    return said


def _wrapped(sentence: str) -> str:
    return textwrap.fill(sentence, _WIDTH, break_on_hyphens=False)


def _models(count: int) -> str:
    return f"{count:,} model{'s' if count != 1 else ''}"


def _without_spread(answer: Answer, heading: Heading) -> bool:
    intervals = answer.sheet.intervals(heading)
    return any(math.isinf(intervals[at][0]) for at in np.flatnonzero(answer.choice.eligible))


def _told(answer: Answer, bound: Bound) -> str:
    h = answer.columns[bound.column]
    return f"{h.name} {'≤' if bound.at_most else '≥'} {h.scale.text(bound.limit)}{_unit(h)}"


def _unit(heading: Heading) -> str:
    return {"%": "%", "count": ""}.get(heading.scale.unit, f" {heading.scale.unit}")


def _shown(answer: Answer, at: int, column: int) -> str:
    h = answer.columns[column]
    return h.scale.around(answer.value(at, column), *answer.sheet.intervals(h)[at])


def _against(answer: Answer, at: int, first: int, column: int) -> str:
    """How the model differs from another: in points of a share, in percent of all else; "~" where it may not."""
    h, mine, other = answer.columns[column], answer.value(at, column), answer.value(first, column)
    mark = "" if _told_apart(answer.sheet.intervals(h), at, first) else "~"
    if h.is_quality:
        return f"{mark}{_signed((mine - other) * 100)} points"
    return f"{mark}{_signed((mine / other - 1) * 100)}%" if other else ""


def _told_apart(intervals: Sequence[Interval], a: int, b: int) -> bool:
    """Intervals that claim nothing are no reason to doubt a number that is taken as it is."""
    return any(math.isinf(intervals[at][0]) for at in (a, b)) or tells_apart(intervals[a], intervals[b])


def _signed(value: float) -> str:
    text = number(abs(value), digits=2)
    return f"{'−' if value < 0 and text != '0' else '+'}{text}"


def _percent(share: float) -> str:
    return f"{number(share * 100, digits=2)}%" if math.isfinite(share) else "without limit"
