"""Models that are one architecture at several numbers of tokens, and how their cost grows.

Two specs are of one series where they are equal but for the size of images and patches, for numbers that follow from
them (landmarks, lengths), and for that part of the name. The number of tokens is that of the patches, those of the
first stage where there are several; class tokens are not counted, so that models with and without one compare.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from paretovit.analysis.growth import Crossover, crossover, exponent
from paretovit.report.headings import Heading, Sheet
from paretovit.report.numbers import number
from paretovit.spec import ModelSpec, Pixels, rows_and_columns, to_json

# Costs that people ask about first. Others follow in the order of the table.
_FOREMOST = ("latency_s", "train_step_s", "peak_bytes_train", "peak_bytes_infer")

_SIZE = re.compile(r"_patch(\d+)_\d+")
_NAMED_SIZE = re.compile(r"_[a-z]+$")  # such as "_pico", at the end of a name without its patches and pixels


@dataclass(frozen=True)
class Series:
    """`lines` are positions in the sheet and `tokens` their numbers of tokens, ascending and each once."""

    name: str
    family: str
    lines: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Growth:
    """How one cost of a series grows, beside that of a series with softmax attention in the same frame.

    lines, tokens   of the series, where the cost is known
    power           the cost grows as this power of the number of tokens, by the last three points
    is_softmax      whether this is softmax attention as one operator itself
    reference       the series with softmax attention; None where there is none, or where this is it
    common          numbers of tokens at which both are known, for images of one size
    against         where this cost is below the reference's beyond the noise; None where nothing is common
    ratio           this cost over the reference's at the largest of them
    """

    series: Series
    lines: tuple[int, ...]
    tokens: tuple[int, ...]
    power: float
    is_softmax: bool = False
    reference: Series | None = None
    common: tuple[int, ...] = ()
    against: Crossover | None = None
    ratio: float = math.nan


def tokens_of(spec: ModelSpec) -> int | None:
    """Patches of an image; None where neither the spec nor the model's name says how large they are."""
    patch = _patch(spec)
    return math.prod(side // patch for side in rows_and_columns(spec.image_px)) if patch else None


@lru_cache(maxsize=4)
def series_of(sheet: Sheet) -> tuple[Series, ...]:
    """Every architecture that the sheet has at two numbers of tokens or more, in the order of its lines."""
    groups: dict[tuple[str, int, str], list[int]] = defaultdict(list)
    for at, line in enumerate(sheet.table.lines):
        if line.spec is not None and tokens_of(line.spec):
            groups[_SIZE.sub("", line.name), line.spec.num_classes, _shape(line.spec)].append(at)
    alike = Counter(name for (name, _, _), found in groups.items() if len(found) > 1)
    made = []
    for (name, classes, _), found in groups.items():
        for patch, lines in _by_patch(sheet, found).items():
            told = [f"patch {patch}"] if patch else []
            told += [f"{classes} classes"] if alike[name] > 1 else []
            by_tokens = {tokens_of(_spec(sheet, at)) or 0: at for at in lines}
            # a size that two have is two models of one name: no line leads through both
            if len(by_tokens) == len(lines) > 1:
                tokens = tuple(sorted(by_tokens))
                label = f"{name} ({', '.join(told)})" if told else name
                made.append(Series(label, sheet.families[lines[0]], tuple(by_tokens[n] for n in tokens), tokens))
    return tuple(made)


@lru_cache(maxsize=32)
def growths(sheet: Sheet, heading: Heading) -> tuple[Growth, ...]:
    """How the cost grows for every series that has it at two numbers of tokens or more."""
    values, found = sheet.values(heading), {}
    for series in series_of(sheet):
        known = [i for i, at in enumerate(series.lines) if math.isfinite(values[at]) and values[at] > 0]
        if len(known) > 1:
            lines, tokens = tuple(series.lines[i] for i in known), tuple(series.tokens[i] for i in known)
            power = exponent(tokens, [values[at] for at in lines])
            found[series] = Growth(series, lines, tokens, power, is_softmax=_is_softmax(_spec(sheet, lines[0])))
    return tuple(_compared(sheet, heading, growth, found) for growth in found.values())


def grown_costs(sheet: Sheet) -> list[Heading]:
    """The costs that some series has at two numbers of tokens or more, foremost first."""
    drawable = [h for h in sheet.costs if h.lower_is_better and growths(sheet, h)]
    known = {name: at for at, name in enumerate(_FOREMOST)}
    return sorted(drawable, key=lambda h: known.get(h.column.indicator, len(known)))


def shared_size(found: Iterable[Growth]) -> str:
    """What the names of all of several series end with, such as "_pico", which tells nothing apart; "" without it."""
    names = {growth.series.name for growth in found}
    sizes = {match[0] if (match := _NAMED_SIZE.search(name)) else "" for name in names}
    return sizes.pop() if len(names) > 1 and len(sizes) == 1 else ""


def said(growth: Growth) -> str:
    """From which number of tokens on the series costs less than softmax attention, in a few words; "" without one."""
    if growth.against is None:
        return ""
    few, many = f"{growth.common[0]:,}", f"{growth.common[-1]:,}"
    if growth.against.kind == "always":
        words = f"at every number measured, from {few} on"
    elif growth.against.kind == "from":
        words = f"from {about(growth)} on"
    else:
        words = "not within the measured range"
    factor = number(max(growth.ratio, 1 / growth.ratio))
    beside = "the same" if factor == "1.00" else f"{factor} times {'less' if growth.ratio < 1 else 'more'}"
    if growth.against.kind == "never" and growth.ratio < 1:
        beside += " within the noise"
    return f"{words}; {beside} at {many}"


def about(growth: Growth) -> str:
    """The number of tokens of the crossover: to two digits, for it lies between measured ones, unless it is one."""
    assert growth.against is not None
    size = growth.against.size
    return f"{size:,.0f}" if size in growth.tokens else f"about {float(f'{size:.1e}'):,.0f}"


def _compared(sheet: Sheet, heading: Heading, growth: Growth, every: dict[Series, Growth]) -> Growth:
    reference = _softmax(sheet, growth.series, tuple(every))
    if reference is None:
        return growth
    theirs = {_sizes(sheet, at): at for at in every[reference].lines}
    pairs = [(at, theirs[sizes]) for at in growth.lines if (sizes := _sizes(sheet, at)) in theirs]
    if not pairs:
        return growth
    intervals, values = sheet.intervals(heading), sheet.values(heading)
    tokens = dict(zip(growth.lines, growth.tokens, strict=True))
    common = tuple(tokens[at] for at, _ in pairs)
    against = crossover(common, [intervals[at] for at, _ in pairs], [intervals[other] for _, other in pairs])
    last, other = pairs[-1]
    return replace(growth, reference=reference, common=common, against=against, ratio=values[last] / values[other])


def _softmax(sheet: Sheet, series: Series, others: tuple[Series, ...]) -> Series | None:
    """The series with softmax attention as one operator whose frame is this one's, and most of the rest too."""
    spec = _spec(sheet, series.lines[0])
    specs = {other: _spec(sheet, other.lines[0]) for other in others}
    alike = [other for other in others if _is_softmax(specs[other]) and _frame(specs[other]) == _frame(spec)]
    if _is_softmax(spec) or not alike:
        return None
    return max(alike, key=lambda other: _agreements(spec, specs[other]))


def _is_softmax(spec: ModelSpec) -> bool:
    return bool(spec.stages) and all(
        stage.mixer.name == "attention" and dict(stage.mixer.options).get("fused", True) for stage in spec.stages
    )


def _frame(spec: ModelSpec) -> Any:
    """What two specs must share for the one's token mixing to be compared with the other's."""
    stages = tuple((stage.depth, stage.dim, stage.sequence, stage.between) for stage in spec.stages)
    return spec.stem, stages, spec.in_chans, spec.num_classes, spec.transforms


def _agreements(a: ModelSpec, b: ModelSpec) -> int:
    same = [getattr(a, name) == getattr(b, name) for name in ("position", "readout", "norm", "final_norm")]
    same += [x.mlp == y.mlp for x, y in zip(a.stages, b.stages, strict=True)]
    return sum(same)


def _spec(sheet: Sheet, at: int) -> ModelSpec:
    spec = sheet.table.lines[at].spec
    assert spec is not None, "only lines with a spec are of a series"
    return spec


def _sizes(sheet: Sheet, at: int) -> tuple[Pixels, int | None]:
    """Of images and patches, in pixels."""
    spec = _spec(sheet, at)
    return spec.image_px, _patch(spec)


def _patch(spec: ModelSpec) -> int | None:
    if spec.whole is None:
        return spec.patch_px
    match = _SIZE.search(spec.name)
    return int(match[1]) if match else None


def _by_patch(sheet: Sheet, lines: list[int]) -> dict[int | None, list[int]]:
    """All lines under None; where two of them have equally many tokens, by the size of their patches."""
    specs = {at: _spec(sheet, at) for at in lines}
    if len({tokens_of(spec) for spec in specs.values()}) == len(lines):
        return {None: lines}
    found: dict[int | None, list[int]] = defaultdict(list)
    for at, spec in specs.items():
        found[_patch(spec)].append(at)
    return found


def _shape(spec: ModelSpec) -> str:
    """The spec without its name, its sizes, and the numbers among its parts' options, as text."""
    content = to_json(spec)
    for name in ("name", "image_px", "patch_px"):
        content.pop(name, None)
    return json.dumps(_without_numbers(content), sort_keys=True)


def _without_numbers(value: Any, option: bool = False) -> Any:
    if isinstance(value, dict):
        return {k: _without_numbers(v, option or k == "options") for k, v in value.items()}
    if isinstance(value, list):
        return [_without_numbers(v, option) for v in value]
    return None if option and isinstance(value, int) and not isinstance(value, bool) else value
