"""Accuracy over the multiply-adds that sparse layers leave, by which layers are sparse and how they became so."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import altair as alt

from paretovit.cost.sparse_macs import dense, macs_left, told_layers
from paretovit.report.figures import FAINT, INK, Data, Figure, accuracy_record, capital, dressed, span, spread
from paretovit.report.headings import Heading, Sheet, sheet_of
from paretovit.spec import ModelSpec
from paretovit.store import Table
from paretovit.training.pruning import Pruning, Tried, tried

WIDTH, HEIGHT = 760, 430
_LABEL_PX = 15
_FEWEST = 2  # sparse models of one parent
_X = "multiply-adds with a weight that is left (%)"
_COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933"]


class Origin(NamedTuple):
    """A parent: its spec, and its weights in words."""

    spec: ModelSpec
    words: str


class SparseLayers(Figure):
    """The sparse models of one parent, that with the most unless one is given; beside them the parent, and the model
    that stayed dense and was trained on for as long. After Vadakkeveedu 2023, figure 4.4."""

    title = "Accuracy and which layers are sparse"
    needs = "accuracies of one parent with different layers sparse"

    def __init__(self, origin: Origin | None = None) -> None:
        self.origin = origin

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        found = _origins(sheet_of(table))
        return {str(at) if len(found) > 1 else "": cls(origin) for at, origin in enumerate(found, start=1)}

    def can_draw(self, table: Table) -> bool:
        found = _origins(sheet_of(table))
        return bool(found) if self.origin is None else self.origin in found

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        origin = self.origin or _origins(sheet)[0]
        name, _, how = origin.words.removesuffix(")").partition(" (")
        points = list(_points(sheet, origin))
        ends = [point[end] for point in points for end in ("top1", "low", "high") if point[end] is not None]
        x_span, y_span = span([p["left"] for p in points], before=0.06, after=0.14), span(ends)
        named = [point for point in points if point["label"]]
        heights = spread([y_span.position(point["top1"]) for point in named], _LABEL_PX / HEIGHT)
        labels = [point | {"label_y": y_span.value(height)} for point, height in zip(named, heights, strict=True)]
        ways = list(dict.fromkeys(point["way"] for point in points))

        marks, texts = Data(points), Data(labels)
        heading = next(_accuracies(sheet))
        x = alt.X("left:Q", title=_X, scale=x_span.scale, axis=alt.Axis(values=list(range(0, 101, 10))))
        y = alt.Y("top1:Q", title=f"{heading.name} (%), higher is better", scale=y_span.scale)
        color = alt.Color(
            "way:N",
            scale=alt.Scale(domain=ways, range=_COLORS[: len(ways)]),
            legend=alt.Legend(title="pruned by", orient="bottom", columns=3, labelLimit=360),
        )
        tooltip = [
            alt.Tooltip("name:N"),
            alt.Tooltip("layers:N", title="sparse layers"),
            alt.Tooltip("way:N", title="pruned by"),
            alt.Tooltip("trained:N", title="trained after it"),
            alt.Tooltip("left:Q", title="multiply-adds left, %", format=".0f"),
            alt.Tooltip("text:N", title="top-1 accuracy"),
        ]
        bars = (
            marks.chart.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.4, opacity=0.5)
            .encode(x=x, y=alt.Y("low:Q", title=y.to_dict()["title"]), y2="high:Q", color=color)
        )
        filled = (
            marks.chart.transform_filter("datum.trained == 'yes'")
            .mark_point(filled=True, size=80, opacity=1)
            .encode(x=x, y=y, color=color, tooltip=tooltip)
        )
        hollow = (
            marks.chart.transform_filter("datum.trained == 'no'")
            .mark_point(filled=False, size=70, strokeWidth=1.6, fill="white", opacity=1)
            .encode(x=x, y=y, color=color, tooltip=tooltip)
        )
        leaders = texts.chart.mark_rule(strokeWidth=0.7, opacity=0.5, color=FAINT).encode(x=x, y=y, y2="label_y:Q")
        names = texts.chart.mark_text(align="left", dx=9, fontSize=12, color=INK).encode(
            x=x, y=alt.Y("label_y:Q", title=y.to_dict()["title"]), text="label:N"
        )
        chart = alt.layer(bars, leaders, hollow, filled, names).properties(width=WIDTH, height=HEIGHT)
        subtitle = [
            f"{capital(how)}. Hollow: as pruned; filled: trained after it. Labels: the sparse layers, 2:4 if not said.",
            "Dense: the parent, and filled the parent trained on for as long. Bars: where a value may lie.",
        ]
        return dressed(chart, f"{name} with sparse layers", subtitle, marks, texts)


def _accuracies(sheet: Sheet) -> Iterator[Heading]:
    return (h for h in sheet.qualities if h.column.indicator == "top1")


def _pruned(sheet: Sheet) -> Iterator[tuple[int, Heading, Origin, Tried]]:
    """Every accuracy of a sparse model whose recipe says how it was pruned, with the number of its line."""
    for h in _accuracies(sheet):
        found = tried(h.column.conditions.recipe)
        for at, line in enumerate(sheet.table.lines):
            if found is None or line.spec is None or not math.isfinite(sheet.values(h)[at]):
                continue
            parent = dense(line.spec)
            if parent != line.spec:
                yield at, h, Origin(parent, found.parent), found


def _origins(sheet: Sheet) -> list[Origin]:
    """Parents of several sparse models, that with the most first."""
    models = {(_known(origin), at): origin for at, _, origin, _ in _pruned(sheet)}
    counts = Counter(key for key, _ in models)
    first = {key: origin for (key, _), origin in models.items()}
    return [first[key] for key, count in counts.most_common() if count >= _FEWEST]


def _known(origin: Origin) -> tuple[str, str]:
    """What tells parents apart: names of specs do not."""
    return origin.spec.key, origin.words


def _points(sheet: Sheet, origin: Origin) -> Iterator[dict[str, Any]]:
    whole, recipes, seen = macs_left(origin.spec), set[str](), set[str]()
    for at, h, parent, found in _pruned(sheet):
        if _known(parent) != _known(origin):
            continue
        spec = sheet.table.lines[at].spec
        assert spec is not None, "what was pruned has a spec"
        if found.recipe is not None:
            recipes.add(found.recipe)
        way, layers = _way(found.pruning), told_layers(spec)
        label = layers if found.recipe is not None and layers not in seen else ""
        seen |= {label}
        point = {"way": way, "layers": layers, "label": label, "left": 100 * macs_left(spec) / whole}
        yield point | accuracy_record(sheet, h, at) | {"trained": "no" if found.recipe is None else "yes"}
    inside = origin.words.partition(" (")[2].removesuffix(")")
    as_long = {f"{recipe}, from {origin.words}" for recipe in recipes}
    for h in _accuracies(sheet):
        recipe = h.column.conditions.recipe
        if recipe == inside or recipe in as_long:
            for at, line in enumerate(sheet.table.lines):
                if line.key == origin.spec.key and math.isfinite(sheet.values(h)[at]):
                    was = "no" if recipe == inside else "yes"
                    point = {"way": "dense", "layers": "none", "label": "dense" if was == "yes" else "parent"}
                    yield point | {"left": 100.0} | accuracy_record(sheet, h, at) | {"trained": was}


def _way(pruning: Pruning) -> str:
    """How it was pruned, but for the pattern."""
    words = [pruning.score]
    words += ["channels reordered"] if pruning.reordered else []
    words += ["step by step"] if pruning.gradual else []
    return ", ".join(words)
