"""What the columns and lines of a table are called, and how their numbers are to be read.

Facts about an indicator are read off its file (nothing is imported); an indicator that this version does not
know keeps its name and its row's unit, and is taken for a cost.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache

from paretovit.analysis.intervals import Interval, interval
from paretovit.cost.folders import INDICATORS
from paretovit.measurement import Conditions, Measurement
from paretovit.report.numbers import Scale, scale
from paretovit.report.recipes import short_names
from paretovit.report.repeats import over_seeds
from paretovit.store import Column, Line, Table, differing
from paretovit.training.replacing import without_hashes
from paretovit.training.rows import HELD_OUT, QUALITIES
from paretovit.zoo.catalog import family

# The first of these that a table has is what its verdict is about.
_FOREMOST = ("top1", "latency_s", "images_per_s", "macs", "params")

# How well the training data were learned, how well a model knows its doubts: neither what one wants of it nor a cost.
_NEITHER = ("train_loss", "ece", "top1_drop", "arithmetic_intensity")

# So many of each have figures of their own. With many recipes a store has dozens of columns, and a figure for every
# quality over every cost would make hundreds.
_FIGURED_QUALITIES, _FIGURED_COSTS = 3, 12

_ENDING = re.compile(r"(_[a-z]+)?(_patch\d+_\d+)$")


@dataclass(frozen=True)
class Heading:
    """A column as people see it. `key` is short and unique within its table; `name` is the title without what tells
    columns of one indicator apart; `seeds` says over how many runs the column is a mean, if it is."""

    key: str
    column: Column
    name: str
    title: str
    seeds: str
    scale: Scale
    lower_is_better: bool
    is_quality: bool
    is_cost: bool

    @property
    def label(self) -> str:
        """Title and unit: "latency (ms)"."""
        return f"{self.title} ({self.scale.unit})"

    @property
    def axis(self) -> str:
        """The label with the direction in which things get better."""
        return f"{self.label}, {'lower' if self.lower_is_better else 'higher'} is better"


def short(heading: Heading, among: Iterable[Heading]) -> str:
    """As short as tells it apart among these."""
    return heading.name if [h.name for h in among].count(heading.name) == 1 else heading.title


@dataclass(frozen=True)
class Sheet:
    """A table with its headings, its lines' labels and families, and every cell's interval; see `sheet_of`.

    In `table` runs from several seeds are one column; `raw` is the table as it was given.
    """

    table: Table
    raw: Table = field(compare=False, repr=False)

    @cached_property
    def headings(self) -> tuple[Heading, ...]:
        """Of the columns about whole models."""
        whole = [at for at, column in enumerate(self.table.columns) if column.conditions.part is None]
        return tuple(_heading(self.table, at, self.recipes) for at in whole)

    @cached_property
    def recipes(self) -> dict[str, str]:
        """A short name for every recipe of the table, the same wherever a page names it; those that became one over
        seeds, each from weights of its own, have one."""
        names = short_names(recipe for column in self.table.columns if (recipe := column.conditions.recipe))
        each = {recipe for column in self.raw.columns if (recipe := column.conditions.recipe)} - names.keys()
        return names | {recipe: names.get(without_hashes(recipe), recipe) for recipe in sorted(each)}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The lines' names; where several are the same, with what tells them apart."""
        of_name: dict[str, list[Line]] = {}
        for line in self.table.lines:
            of_name.setdefault(line.name, []).append(line)
        return tuple(_distinct(line, of_name[line.name]) for line in self.table.lines)

    @cached_property
    def short_labels(self) -> tuple[str, ...]:
        return shortened(self.labels)

    @cached_property
    def families(self) -> tuple[str, ...]:
        return tuple("unknown" if line.spec is None else family(line.spec) for line in self.table.lines)

    @cached_property
    def qualities(self) -> tuple[Heading, ...]:
        return self._foremost_first([h for h in self.headings if h.is_quality])

    @cached_property
    def costs(self) -> tuple[Heading, ...]:
        """Those that tell models apart: a cost that is the same for all is nobody's reason to choose. Costs of models
        whose foremost quality is known come first."""
        costs = self._foremost_first([h for h in self.headings if h.is_cost and self.varies(h)])
        if not self.qualities:
            return costs
        judged = {at for at, value in enumerate(self.values(self.qualities[0])) if math.isfinite(value)}
        return tuple(sorted(costs, key=lambda h: all(math.isnan(self.values(h)[at]) for at in judged)))

    @property
    def figured_qualities(self) -> tuple[Heading, ...]:
        """The foremost qualities: those that have figures of their own."""
        return self.qualities[:_FIGURED_QUALITIES]

    @property
    def figured_costs(self) -> tuple[Heading, ...]:
        """The foremost costs: those that have figures of their own."""
        return self.costs[:_FIGURED_COSTS]

    @cached_property
    def _rows(self) -> dict[str, list[Measurement | None]]:
        return {h.key: self.table.measurements(h.column) for h in self.headings}

    @cached_property
    def _values(self) -> dict[str, list[float]]:
        return {h.key: self.table.values(h.column) for h in self.headings}

    @cached_property
    def _intervals(self) -> dict[str, list[Interval]]:
        return {
            h.key: [(math.nan, math.nan) if row is None or row.value is None else interval(row) for row in self.rows(h)]
            for h in self.headings
        }

    def rows(self, heading: Heading) -> list[Measurement | None]:
        return self._rows[heading.key]

    def values(self, heading: Heading) -> list[float]:
        """In the store's unit, in the order of the lines; NaN where there is none."""
        return self._values[heading.key]

    def varies(self, heading: Heading) -> bool:
        return len({value for value in self.values(heading) if math.isfinite(value)}) > 1

    def intervals(self, heading: Heading) -> list[Interval]:
        """As `values`: infinite where a value claims nothing, NaN where there is none."""
        return self._intervals[heading.key]

    def _foremost_first(self, headings: list[Heading]) -> tuple[Heading, ...]:
        def rank(heading: Heading) -> tuple[int, int]:
            name = heading.column.indicator
            known = sum(math.isfinite(value) for value in self.values(heading))
            return (_FOREMOST.index(name) if name in _FOREMOST else len(_FOREMOST), -known)

        return tuple(sorted(headings, key=rank))


@lru_cache(maxsize=4)
def sheet_of(table: Table) -> Sheet:
    """The one sheet of a table: intervals take time, and many figures ask for the same."""
    return Sheet(over_seeds(table), table)


def slug(sheet: Sheet, heading: Heading) -> str:
    """A column's part in the names of files: its indicator, numbered where the table has it several times."""
    alike = [h.key for h in sheet.headings if h.column.indicator == heading.column.indicator]
    if heading.is_quality:  # what was set aside has no figures
        alike = [h.key for h in sheet.qualities if h.column.indicator == heading.column.indicator]
    name = "".join(c if c.isalnum() or c == "_" else "_" for c in heading.column.indicator)
    return name if len(alike) == 1 else f"{name}_{alike.index(heading.key) + 1}"


def described(
    conditions: Conditions, names: Sequence[str] | None = None, recipes: Mapping[str, str] | None = None
) -> str:
    """Conditions in words, for all fields that are stated or for the given ones: "torch_eager, 2 threads".

    `recipes` has short names for recipes, where they are wanted.
    """
    words = []
    for name in names if names is not None else [f.name for f in fields(Conditions)]:
        value = getattr(conditions, name)
        if value in (None, "", ()) or name == "spec":
            continue
        if name == "threads":
            words.append(f"{value} thread{'s' if value != 1 else ''}")
        elif name == "batch_size":
            words.append("best batch size" if value == "best" else f"batch {value}")
        elif name == "assumptions":
            words.append(", ".join(f"{k} {v}" for k, v in value))
        elif name == "recipe":
            words.append(f"recipe {(recipes or {}).get(value, value)}")
        elif name in ("data", "split", "seed", "source"):
            words.append(f"{name} {value}")
        else:
            words.append(str(value))
    return ", ".join(words)


def _heading(table: Table, at: int, recipes: Mapping[str, str]) -> Heading:
    column = table.columns[at]
    name = column.indicator
    rows = [row for row in table.measurements(column) if row is not None]
    unit = rows[0].unit if rows else ""
    share = False
    if name in QUALITIES:
        title, unit, lower = QUALITIES[name]
        share = not lower
    elif name in INDICATORS:
        title, lower = INDICATORS.fact(name, "title", name), INDICATORS.fact(name, "lower_is_better", True)
    else:
        title, lower = name, True
    if column.conditions.source is not None:
        title = f"published {title}"
    aside = [c for c in table.columns if c.indicator == name and _set_aside(table, c)]
    alike = [c for c in table.columns if c.indicator == name and (c not in aside or column in aside)]
    # columns that differ in their seed differ in something else too: see `over_seeds`
    told = [n for n in differing([c.conditions for c in alike]) if n != "seed"]
    is_quality, seeds = share and column not in aside, _seeds(rows)
    words = [title, described(column.conditions, told, recipes), seeds if is_quality else ""]
    return Heading(
        key=f"c{at}",
        column=column,
        name=title,
        title=", ".join(word for word in words if word),
        seeds=seeds,
        scale=scale(unit, table.values(column), share=share),
        lower_is_better=lower,
        is_quality=is_quality,
        is_cost=not share and name not in _NEITHER,
    )


def _set_aside(table: Table, column: Column) -> bool:
    """Whether the column is about images that a recipe held out to look at while training, and the same runs have
    been seen on the split that is to be reported."""

    def but_split(conditions: Conditions) -> Conditions:
        return replace(conditions, split=None, seed=None)

    return column.conditions.split == HELD_OUT and any(
        other.indicator == column.indicator
        and other.conditions.split != HELD_OUT
        and but_split(other.conditions) == but_split(column.conditions)
        for other in table.columns
    )


def _seeds(rows: list[Measurement]) -> str:
    """ "mean of 3 seeds"; where models have different numbers of them, "mean of 1 to 3 seeds"."""
    counts = {len(row.origin.timing.get("seeds", [None])) for row in rows}
    if not counts or max(counts) == 1:
        return ""
    return f"mean of {' to '.join(str(count) for count in sorted({min(counts), max(counts)}))} seeds"


def shortened(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels without the ending that most of them share, such as `_nano_patch1_8`; as they are if two would
    then be one."""
    endings = Counter(ending for label in labels for ending in _endings(label))
    if not endings:
        return tuple(labels)
    ending = max(endings, key=lambda found: (endings[found], len(found)))
    short = tuple(label.removesuffix(ending) for label in labels)
    return short if len(set(short)) == len(short) else tuple(labels)


def _endings(label: str) -> list[str]:
    """What may be left out at the end: `_patch1_8`, and with the size before it, `_nano_patch1_8`."""
    match = _ENDING.search(label)
    return [] if match is None else list(dict.fromkeys((match[0], match[2])))


def _distinct(line: Line, same_name: list[Line]) -> str:
    """The name and, of image size and classes, what not all of that name have in common; if that is not enough, the
    first letters of the key."""
    if len(same_name) == 1:
        return line.name
    if line.spec is None:
        return f"{line.name} (published)"
    facts = [_facts(other) for other in same_name]
    told = [at for at in range(2) if len({fact[at] for fact in facts}) > 1]
    words = [_facts(line)[at] for at in told]
    if sum([fact[at] for at in told] == words for fact in facts) > 1:
        words.append(line.key[:6])
    return f"{line.name} ({', '.join(words)})"


def _facts(line: Line) -> tuple[str, str]:
    if line.spec is None:
        return "", ""
    return line.spec.size, f"{line.spec.num_classes} classes"
