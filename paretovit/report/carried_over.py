"""Whether one order of models holds elsewhere: Kendall's tau between the same cost taken under two conditions, and
between a time and a count. Works on rows, for it reads all published columns, of which a page shows a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import combinations

import numpy as np

from paretovit.analysis.correlate import bootstrap, coefficient
from paretovit.analysis.intervals import Interval
from paretovit.cost.folders import INDICATORS
from paretovit.measurement import Measurement
from paretovit.report.headings import described
from paretovit.spec import ModelSpec
from paretovit.store import Column, differing

# Beginnings of the names of timm's architectures with attention, or that its papers set beside it.
VIT_LIKE = (
    *("beit", "caformer", "cait", "coat", "convformer", "convit", "crossvit", "davit", "deit", "edgenext"),
    *("efficientformer", "efficientvit", "eva", "fastvit", "flexivit", "focalnet", "gc_vit", "gmlp", "hiera", "levit"),
    *("maxvit", "maxxvit", "mixer", "mobilevit", "mvit", "naflexvit", "nest", "pit_", "poolformer", "pvt", "rdnet"),
    *("repvit", "resmlp", "samvit", "sequencer", "swiftformer", "swin", "tiny_vit", "tnt", "twins", "visformer"),
    *("vit", "volo", "xcit"),
)
VIT_LIKE_PX = 224
_TIMED = ("latency_s", "images_per_s", "train_step_s", "train_images_per_s")
_COUNTS = ("macs", "activations", "params")
_CONDITIONS = ("device", "runtime", "dtype", "batch_size", "threads", "assumptions")  # in the order to be read in
_FEWEST = 8  # models that two columns share, for an order to be worth a number
_DRAWS, _FEW = 100, 40  # redraws of the models, and of more than _MANY models
_MANY = 500

Values = dict[str, float]  # by the spec's key; the lower the better


@dataclass(frozen=True)
class Order:
    """How far two columns order the models alike that both have: tau, the 95% interval of redrawn models, how many."""

    tau: float
    interval: Interval
    models: int


@dataclass(frozen=True)
class Carried:
    """Two columns, what tells them apart in words, and how far they agree; `like_vits` is about models that are like
    ViTs by their names, at 224 px, where there are enough of them and others too."""

    first: Column
    second: Column
    words: tuple[str, str]
    every: Order
    like_vits: Order | None


def carried_over(rows: Sequence[Measurement], specs: Mapping[str, ModelSpec]) -> list[Carried]:
    """Pairs of columns in which one thing changed, the least alike first.

    That is a time under two devices, runtimes, data types or numbers of threads, all else equal, and a time against
    each count. Which table a number was read from is no condition here: of columns that differ in nothing else, that of
    the newest torch counts. What was taken on a busy machine is left out.
    """
    columns: dict[Column, tuple[tuple[int, ...], Values]] = {}
    for column, (release, values) in _columns(rows).items():
        plain = replace(column, conditions=replace(column.conditions, source=None))
        before = columns.get(plain, ((), {}))
        newer, older = ((release, values), before) if release >= before[0] else (before, (release, values))
        # a count is that of the model, whoever printed it; times of several releases make no column
        columns[plain] = (newer[0], older[1] | newer[1]) if plain.indicator in _COUNTS else newer
    times = [c for c in columns if c.indicator in _TIMED]
    counts = [c for c in columns if c.indicator in _COUNTS]
    pairs = [
        (a, b)
        for a, b in combinations(times, 2)
        if a.indicator == b.indicator and len(differing([a.conditions, b.conditions])) == 1
    ]
    pairs += [(time, count) for time in times for count in counts]
    like = {key for key, spec in specs.items() if spec.image_px == VIT_LIKE_PX and spec.name.startswith(VIT_LIKE)}
    found = []
    for a, b in pairs:
        mine, other = columns[a][1], columns[b][1]
        shared = [key for key in mine if key in other]
        every = _order(mine, other, shared)
        if every is not None:
            some = [key for key in shared if key in like]
            like_vits = _order(mine, other, some) if len(some) < len(shared) else None
            found.append(Carried(a, b, (_told(a, b, times), _told(b, a, times)), every, like_vits))
    return sorted(found, key=lambda one: one.every.tau)


def carried_section(found: Sequence[Carried]) -> str:
    """The table of the page. Every word passes through `escape`."""
    if not found:
        return ""
    like = any(one.like_vits for one in found)
    body = "".join(
        f"<tr><td>{escape(one.words[0])}</td><td>{escape(one.words[1])}</td><td>{_cell(one.every)}</td>"
        f"{f'<td>{_cell(one.like_vits)}</td>' if like else ''}</tr>"
        for one in found
    )
    head = f"<th>like ViTs, {VIT_LIKE_PX} px</th>" if like else ""
    return (
        '<section id="carried"><h2>Does the order of models carry over?</h2>'
        "<p>Kendall’s tau between two ways to rank the same models by cost: 1 if they agree on every pair of models, "
        "0 if on no more than half of them. In brackets the 95% interval of models redrawn with replacement. Models "
        "are like ViTs by their names.</p>"
        '<div class="scroll"><table class="words"><thead><tr><th>models ranked by</th><th>and by</th>'
        f"<th>all models</th>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _columns(rows: Sequence[Measurement]) -> dict[Column, tuple[tuple[int, ...], Values]]:
    """For every column of a time or count the torch that it was taken with, and its values as costs."""
    found: dict[Column, tuple[tuple[int, ...], Values]] = {}
    for row in rows:
        known = row.value and row.conditions.spec and row.conditions.part is None
        if not known or row.indicator not in (*_TIMED, *_COUNTS) or row.origin.timing.get("contended"):
            continue
        assert row.value is not None, "a row without a value is not known"
        column = Column(row.indicator, row.conditions.column())
        release = tuple(int(n) for n in row.origin.versions.get("torch", "0").split("+")[0].split(".") if n.isdigit())
        values = found.setdefault(column, (release, {}))[1]
        lower = INDICATORS.fact(row.indicator, "lower_is_better", True)
        values[row.conditions.spec] = row.value if lower else 1 / row.value
    return found


def _order(a: Values, b: Values, keys: Sequence[str]) -> Order | None:
    if len(keys) < _FEWEST:
        return None
    first, second = (np.array([values[key] for key in keys]) for values in (a, b))
    tau, draws = coefficient(first, second, "kendall"), _DRAWS if len(keys) <= _MANY else _FEW
    return None if np.isnan(tau) else Order(tau, bootstrap(first, second, "kendall", draws=draws), len(keys))


def _told(column: Column, other: Column, times: Sequence[Column]) -> str:
    """The indicator, and the conditions that tell it from other columns of times."""
    title = INDICATORS.fact(column.indicator, "title", column.indicator)
    if column.indicator in _COUNTS:
        return title
    alike = [c.conditions for c in times if c.indicator == column.indicator]
    told = [name for name in differing(alike) if name in _CONDITIONS]
    if column.indicator == other.indicator:
        told = list(dict.fromkeys([*told, *differing([column.conditions, other.conditions])]))
    return ", ".join(word for word in (title, described(column.conditions, told)) if word)


def _cell(order: Order | None) -> str:
    if order is None:
        return "–"
    low, high = order.interval
    text = f"<b>{order.tau:.2f}</b> ({low:.2f} to {high:.2f}), {order.models:,} models"
    return text.replace("-", "−")
