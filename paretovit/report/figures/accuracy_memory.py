"""A quality over the peak memory of training, with parameters as the size of the mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from paretovit.report.figures import (
    FAINT,
    INK,
    Data,
    Figure,
    Span,
    capital,
    dressed,
    family_encodings,
    records,
    span,
    spread,
)
from paretovit.report.figures.pareto import on_front
from paretovit.report.headings import Heading, Sheet, sheet_of, shortened, slug
from paretovit.store import Column, Table

WIDTH, HEIGHT = 760, 480
_MEMORIES = 3  # columns of memory that have figures of their own
_READABLE = 30  # names of marks that can be read beside each other
_LABEL_PX = 15  # height of a line of text
_LETTER_PX = 6.5  # width of a letter in it, about
_AREAS = (40, 520)  # px^2 of the smallest and of the largest mark


class AccuracyMemory(Figure):
    """Every model as a mark with its name, or of many models only those on the front; bars show where quality and
    memory may lie. After figure 4 of Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision".

    Without `memory` and `quality`, the table's first peak of training and its foremost quality.
    """

    title = "Accuracy over training memory"
    needs = "a quality, peak_bytes_train and params of the same models"

    def __init__(self, memory: Column | None = None, quality: Column | None = None) -> None:
        self.memory, self.quality = memory, quality

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        sheet = sheet_of(table)
        pairs = [(x, y) for y in sheet.figured_qualities for x in _of(sheet, "peak_bytes_train")[:_MEMORIES]]
        return {f"{slug(sheet, y)}-{slug(sheet, x)}": cls(x.column, y.column) for x, y in pairs}

    def can_draw(self, table: Table) -> bool:
        return bool(self._complete(sheet_of(table)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        x, y, size = axes = self._axes(sheet)
        complete = self._complete(sheet)
        lines = records(sheet, axes)
        sizes = [lines[at][size.key] for at in complete]
        x_span = span(_reach(lines, complete, x), before=0.06, after=0.16)
        y_span = span(_reach(lines, complete, y), before=0.08, after=0.08)
        areas = alt.Scale(domain=[min(sizes), max(sizes)], range=list(_AREAS)) if len(set(sizes)) > 1 else alt.Scale()
        crowded = len(complete) > _READABLE
        best = on_front(sheet, x, y)
        chosen = [(at, lines[at]) for at in complete if best[at] or not crowded]
        names = _names(sheet, chosen, axes, x_span, y_span, max(sizes))

        x_axis = alt.X(f"{x.key}:Q", title=x.axis, scale=x_span.scale, axis=alt.Axis(tickCount=7, format="~r"))
        y_axis = alt.Y(f"{y.key}:Q", title=y.axis, scale=y_span.scale, axis=alt.Axis(tickCount=7, format="~r"))
        x_plain, y_plain = alt.X(f"{x.key}:Q", title=x.axis), alt.Y(f"{y.key}:Q", title=y.axis)
        models, named = Data(lines), Data(names)
        points = models.chart.transform_filter(" && ".join(f"isValid(datum.{h.key})" for h in axes))
        bars = points.mark_rule(color=INK, opacity=0.7, strokeWidth=1.2)
        x_bars = bars.encode(x=alt.X(f"{x.key}_low:Q", title=x.axis), x2=f"{x.key}_high:Q", y=y_plain)
        y_bars = bars.encode(x=x_plain, y=alt.Y(f"{y.key}_low:Q", title=y.axis), y2=f"{y.key}_high:Q")
        legend = alt.Legend(title=size.label, orient="bottom", symbolFillColor=FAINT, symbolStrokeWidth=0, columns=6)
        marks = points.mark_point(filled=True, opacity=0.75).encode(
            x=x_axis,
            y=y_axis,
            size=alt.Size(f"{size.key}:Q", scale=areas, legend=legend),
            **family_encodings(sheet.families[at] for at in complete),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("family:N"),
                *(alt.Tooltip(f"{h.key}_text:N", title=h.title) for h in (y, x, size)),
            ],
        )
        leaders = named.chart.mark_rule(color=FAINT, strokeWidth=0.7, opacity=0.6).encode(
            x=x_plain, y=y_plain, x2="label_x:Q", y2="label_y:Q"
        )
        beside = {"x": alt.X("label_x:Q", title=x.axis), "y": alt.Y("label_y:Q", title=y.axis), "text": "label:N"}
        halo = {"stroke": "white", "strokeWidth": 3, "opacity": 0.9}  # a name is read where a bar runs through it
        texts = [
            named.chart.mark_text(align="left", dx=2, fontSize=12, color=INK, **kind).encode(**beside)
            for kind in (halo, {})
        ]
        chart = alt.layer(leaders, marks, x_bars, y_bars, *texts).properties(width=WIDTH, height=HEIGHT)
        title = f"{capital(y.title)} over {x.title}"
        said = ["Larger marks have more parameters. Bars: where a value may lie."]
        if crowded:
            said.append(f"Named: the {len(names)} of {len(complete)} models that no other beats in both.")
        return dressed(chart, title, said, models, named)

    def _axes(self, sheet: Sheet) -> tuple[Heading, Heading, Heading]:
        """Memory, quality and parameters. Raises `IndexError` where the sheet lacks one."""
        memories = [h for h in _of(sheet, "peak_bytes_train") if self.memory in (None, h.column)]
        qualities = [h for h in sheet.qualities if self.quality in (None, h.column)]
        return memories[0], qualities[0], _of(sheet, "params")[0]

    def _complete(self, sheet: Sheet) -> list[int]:
        """The lines that have all three."""
        try:
            axes = self._axes(sheet)
        except IndexError:
            return []
        return [at for at, row in enumerate(zip(*map(sheet.values, axes), strict=True)) if all(map(math.isfinite, row))]


def _of(sheet: Sheet, indicator: str) -> list[Heading]:
    return [h for h in sheet.headings if h.column.indicator == indicator]


def _reach(lines: list[dict[str, Any]], complete: list[int], h: Heading) -> list[float]:
    """Every value of the axis and the ends of its bars."""
    fields = (h.key, f"{h.key}_low", f"{h.key}_high")
    return [lines[at][field] for at in complete for field in fields if lines[at][field] is not None]


def _names(
    sheet: Sheet,
    chosen: Sequence[tuple[int, dict[str, Any]]],
    axes: Sequence[Heading],
    x_span: Span,
    y_span: Span,
    largest: float,
) -> list[dict[str, Any]]:
    """The names of the chosen models to the right of their marks, moved up and down so that those side by side do not
    overlap; `largest` is the size of the largest mark of all."""
    x, y, size = (h.key for h in axes)
    names = []
    labels = shortened([sheet.labels[at] for at, _ in chosen])
    for label, (_, line) in zip(labels, chosen, strict=True):
        radius = math.sqrt(_AREAS[1] * max(line[size] / largest, _AREAS[0] / _AREAS[1]) / math.pi)
        start = x_span.position(line[x]) + (radius + 5) / WIDTH
        names.append({x: line[x], y: line[y], "label": label, "label_x": x_span.value(start)})
    names.sort(key=lambda name: name[x])
    neighbours: list[list[dict[str, Any]]] = []
    reach = -math.inf
    for name in names:
        start = x_span.position(name["label_x"])
        if start > reach:
            neighbours.append([])
        neighbours[-1].append(name)
        reach = max(reach, start + _LETTER_PX * len(name["label"]) / WIDTH)
    for group in neighbours:
        heights = spread([y_span.position(name[y]) for name in group], _LABEL_PX / HEIGHT)
        for name, height in zip(group, heights, strict=True):
            name["label_y"] = y_span.value(height)
    return names
