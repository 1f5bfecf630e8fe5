"""Models side by side: who is cheaper by which indicator, never by one alone, and where indicators contradict."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from paretovit.analysis.disagree import Reversal
from paretovit.analysis.intervals import tells_apart
from paretovit.measurement import Measurement
from paretovit.report.figures.disagreement import reversals
from paretovit.report.headings import Heading, Sheet, sheet_of
from paretovit.report.numbers import number
from paretovit.report.weights import with_costs
from paretovit.spec import ModelSpec
from paretovit.store import arrange
from paretovit.zoo.pretrained import as_timm_names_it, network

Better = Literal["first", "second", "tied", "unknown"]

_WIDTH = 100
_CONTRADICTIONS = 10
_EACH = 2  # of which so many may be about the same two costs, or the same two models


@dataclass(frozen=True)
class Verdict:
    """Which of two models is better by one indicator, and by which factor; 1 where they are tied or unknown."""

    heading: Heading
    better: Better
    factor: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Some models, rows of them, and the number of `published` columns that were left out."""

    rows: tuple[Measurement, ...]
    specs: Mapping[str, ModelSpec]
    published: int = 0

    @cached_property
    def sheet(self) -> Sheet:
        return sheet_of(arrange(self.rows, specs=self.specs))

    @cached_property
    def contradictions(self) -> list[Reversal]:
        """The strongest, with no two costs and no two models named more than twice; positions are those of `sheet`."""
        found: list[Reversal] = []
        named: Counter[frozenset[tuple[str, int]]] = Counter()
        for one in reversals(self.sheet)[0]:
            costs = frozenset((("cost", one.a), ("cost", one.b)))
            models = frozenset((("model", one.first), ("model", one.second)))
            if max(named[costs], named[models]) < _EACH and len(found) < _CONTRADICTIONS:
                named.update((costs, models))
                found.append(one)
        return found

    def verdicts(self, first: int, second: int) -> list[Verdict]:
        """Of every indicator that is a cost or a quality and that one of the two has."""
        sheet = self.sheet
        found: list[Verdict] = []
        for heading in (*sheet.qualities, *(h for h in sheet.headings if h.is_cost)):
            values, intervals = sheet.values(heading), sheet.intervals(heading)
            a, b = values[first], values[second]
            if math.isnan(a) and math.isnan(b):
                continue
            if math.isnan(a) or math.isnan(b) or math.isinf(intervals[first][0]) or math.isinf(intervals[second][0]):
                found.append(Verdict(heading, "unknown"))
            elif not tells_apart(intervals[first], intervals[second]):
                found.append(Verdict(heading, "tied"))
            else:
                small, large = sorted((a, b))
                better: Better = "first" if (a < b) == heading.lower_is_better else "second"
                found.append(Verdict(heading, better, large / small if small > 0 else math.inf))
        return found

    def to_json(self) -> dict[str, Any]:
        """The rows, every indicator's verdict on the first model against each other one, and the contradictions."""
        lines, costs = self.sheet.table.lines, self.sheet.costs
        return {
            "rows": [row.to_json() for row in self.rows],
            "pairs": [
                {
                    "first": lines[0].name,
                    "second": lines[other].name,
                    "verdicts": [
                        _named(v.heading) | {"better": v.better, "factor": _finite(v.factor)}
                        for v in self.verdicts(0, other)
                    ],
                }
                for other in range(1, len(lines))
            ],
            "contradictions": [
                {
                    "first": lines[one.first].name,
                    "second": lines[one.second].name,
                    "first_is_better_by": _named(costs[one.a]) | {"factor": _finite(one.by_a)},
                    "second_is_better_by": _named(costs[one.b]) | {"factor": _finite(one.by_b)},
                }
                for one in self.contradictions
            ],
        }


def comparison(
    specs: Sequence[ModelSpec],
    counted: Sequence[Measurement],
    stored: Sequence[Measurement] = (),
    *,
    published: bool = False,
) -> Comparison:
    """The models in the order given, with what has been counted now and what `stored` has of them.

    A count made now stands for one in the store. What others published is left out unless it is asked for: it comes in
    many columns.
    """
    known = {spec.key: spec for spec in specs}
    others = [one for spec in specs for one in (network(spec), as_timm_names_it(spec))]
    mine = [row for row in with_costs(stored, {one.key: one for one in others} | known) if row.conditions.spec in known]
    fresh = {(row.indicator, row.conditions) for row in counted}
    aside = {(row.indicator, row.conditions.column()) for row in mine if row.conditions.source and not published}
    kept = [
        row
        for row in mine
        if (row.indicator, row.conditions) not in fresh and (row.indicator, row.conditions.column()) not in aside
    ]
    order = {key: at for at, key in enumerate(known)}
    rows = sorted([*counted, *kept], key=lambda row: order[row.conditions.spec])
    return Comparison(tuple(rows), known, len(aside))


def pair_lines(made: Comparison) -> list[str]:
    """Of the first model against each other one a paragraph: every indicator's verdict."""
    sheet, said = made.sheet, []
    for other in range(1, len(sheet.labels)):
        verdicts = made.verdicts(0, other)
        words: dict[Better, str] = {
            "first": "better by",
            "second": "worse by",
            "tied": "not told apart in",
            "unknown": "unknown in",
        }
        parts = [f"{word} {_by(verdicts, better)}" for better, word in words.items() if _by(verdicts, better)]
        said.append(f"{sheet.labels[0]} against {sheet.labels[other]}: {'; '.join(parts)}.")
    if made.published:
        said.append(f"Left out: {made.published} columns that others published; --published shows them.")
    return list(map(_wrapped, said))


def contradiction_lines(made: Comparison) -> list[str]:
    """The contradictions in words, or that there is none."""
    sheet = made.sheet
    said = []
    for one in made.contradictions:
        a, b = sheet.costs[one.a].title, sheet.costs[one.b].title
        first, second = sheet.labels[one.first], sheet.labels[one.second]
        said.append(f"- by {a} {first} is {_times(one.by_a)} better than {second}, by {b} {_times(one.by_b)} worse")
    if not said:
        return ["No two costs here order two of these models oppositely beyond the noise."]
    return ["Contradictions beyond the noise, the strongest first:", *map(_wrapped, said)]


def _wrapped(line: str) -> str:
    return textwrap.fill(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _by(verdicts: Sequence[Verdict], better: Better) -> str:
    words = [
        v.heading.title.replace(", ", " ") + (f" ({_times(v.factor)})" if v.factor > 1 else "")
        for v in verdicts
        if v.better == better
    ]
    return ", ".join(words)


def _times(factor: float) -> str:
    return f"{number(factor)} times" if math.isfinite(factor) else "beyond any factor"


def _finite(factor: float) -> float | None:
    return factor if math.isfinite(factor) else None


def _named(heading: Heading) -> dict[str, Any]:
    return {"indicator": heading.column.indicator, "conditions": heading.column.conditions.to_json()}
