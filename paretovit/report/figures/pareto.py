"""A quality over a cost, with the front of the models that nothing beats in both."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from paretovit.analysis.pareto import front
from paretovit.report.figures import (
    FAINT,
    INK,
    Data,
    Figure,
    Span,
    all_models,
    capital,
    dressed,
    family_encodings,
    span,
    spread,
)
from paretovit.report.headings import Heading, Sheet, sheet_of, slug
from paretovit.store import Column, Table

WIDTH, HEIGHT = 760, 430
_LABEL_PX = 15  # height of a line of text


class Pareto(Figure):
    """Every model as a point with its interval; the Pareto front as a step line, its models by name.

    Without `x` and `y`, the table's foremost cost and quality. All columns of the table go into the chart's data,
    so that the charts of one table share them.
    """

    title = "Accuracy over cost, and the Pareto front"
    needs = "a quality (such as top1) and a cost of the same models"

    def __init__(self, x: Column | None = None, y: Column | None = None) -> None:
        self.x, self.y = x, y

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        sheet = sheet_of(table)
        pairs = [(x, y) for y in sheet.figured_qualities for x in sheet.figured_costs]
        return {f"{slug(sheet, y)}-{slug(sheet, x)}": cls(x.column, y.column) for x, y in pairs}

    def can_draw(self, table: Table) -> bool:
        sheet = sheet_of(table)
        return bool(sheet.qualities and sheet.costs) and bool(_both(sheet, *self._axes(sheet)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        x, y = self._axes(sheet)
        both = _both(sheet, x, y)
        models = all_models(sheet)
        lines = models.records
        chosen = on_front(sheet, x, y)
        optimal = [at for at in both if chosen[at]]

        # Above and to the better side of a front model there is no other: its name goes there, and the axis
        # leaves room for it.
        room = (0.05, 0.2) if not x.lower_is_better else (0.2, 0.05)
        x_span = span(_reach(lines, both, x), before=room[0], after=room[1])
        y_span = span(_reach(lines, both, y), after=0.1)
        front_lines = _named(sheet, [(at, lines[at]) for at in optimal], x, y, y_span)

        x_axis = alt.X(f"{x.key}:Q", title=x.axis, scale=x_span.scale, axis=alt.Axis(tickCount=7, format="~r"))
        y_axis = alt.Y(f"{y.key}:Q", title=y.axis, scale=y_span.scale, axis=alt.Axis(tickCount=7, format="~r"))
        x_plain, y_plain = alt.X(f"{x.key}:Q", title=x.axis), alt.Y(f"{y.key}:Q", title=y.axis)
        named = Data(front_lines)
        points = models.chart.transform_filter(f"isValid(datum.{x.key}) && isValid(datum.{y.key})")
        front_points = named.chart

        step: Any = "step-after" if x.lower_is_better else "step-before"
        line = front_points.mark_line(interpolate=step, color=FAINT, strokeWidth=1.5, strokeDash=[5, 3]).encode(
            x=x_plain, y=y_plain, order=alt.Order(f"{x.key}:Q")
        )
        rings = front_points.mark_point(size=420, color=INK, strokeWidth=1.4, filled=False).encode(x=x_plain, y=y_plain)
        bars = points.mark_rule(color=FAINT, opacity=0.45)
        x_bars = bars.encode(x=alt.X(f"{x.key}_low:Q", title=x.axis), x2=f"{x.key}_high:Q", y=y_plain)
        y_bars = bars.encode(x=x_plain, y=alt.Y(f"{y.key}_low:Q", title=y.axis), y2=f"{y.key}_high:Q")
        encodings = family_encodings(sheet.families[at] for at in both)
        tooltip = [
            alt.Tooltip("model:N"),
            alt.Tooltip("family:N"),
            alt.Tooltip(f"{y.key}_text:N", title=y.title),
            alt.Tooltip(f"{x.key}_text:N", title=x.title),
        ]
        busy = f"datum.{x.key}_busy || datum.{y.key}_busy"
        marks = (
            points.transform_filter(f"!({busy})")
            .mark_point(size=140, filled=True, opacity=0.9)
            .encode(x=x_axis, y=y_axis, **encodings, tooltip=tooltip)
        )
        hollow = (
            points.transform_filter(busy)
            .mark_point(size=110, filled=False, strokeWidth=1.8, fill="white", opacity=1)
            .encode(x=x_plain, y=y_plain, **encodings, tooltip=tooltip)
        )
        side: Any = {"align": "right", "dx": -11} if x.lower_is_better else {"align": "left", "dx": 11}
        texts = front_points.mark_text(dy=-9, fontSize=12, color=INK, **side).encode(
            x=x_plain, y=alt.Y("label_y:Q", title=y.axis), text="label:N"
        )
        chart = alt.layer(x_bars, y_bars, line, rings, marks, hollow, texts).properties(width=WIDTH, height=HEIGHT)
        subtitle = [
            f"Ringed and named: no other model is as good in both ({len(optimal)} of {len(both)} models).",
            "Bars: where a value may lie. Hollow: the machine was busy, the value claims nothing.",
        ]
        return dressed(chart, f"{capital(y.title)} over {x.title}", subtitle, models, named)

    def _axes(self, sheet: Sheet) -> tuple[Heading, Heading]:
        by_column = {h.column: h for h in sheet.headings}
        x = sheet.costs[0] if self.x is None else by_column[self.x]
        y = sheet.qualities[0] if self.y is None else by_column[self.y]
        return x, y


def on_front(sheet: Sheet, cost: Heading, quality: Heading) -> list[bool]:
    """Which lines are Pareto-optimal by their values, noise left aside. A value that was taken while others used
    the machine claims nothing: its model is not on the front, and takes nobody off it."""
    sign = 1 if cost.lower_is_better else -1
    costs = [
        math.nan if row is not None and row.origin.timing.get("contended") else sign * value
        for value, row in zip(sheet.values(cost), sheet.rows(cost), strict=True)
    ]
    return [bool(optimal) for optimal in front(costs, sheet.values(quality))]


def _both(sheet: Sheet, x: Heading, y: Heading) -> list[int]:
    pairs = zip(sheet.values(x), sheet.values(y), strict=True)
    return [at for at, (a, b) in enumerate(pairs) if math.isfinite(a) and math.isfinite(b)]


def _reach(lines: list[dict[str, Any]], both: list[int], h: Heading) -> list[float]:
    """Every value of the axis and the ends of its bars."""
    fields = (h.key, f"{h.key}_low", f"{h.key}_high")
    return [lines[at][field] for at in both for field in fields if lines[at][field] is not None]


def _named(
    sheet: Sheet, optimal: list[tuple[int, dict[str, Any]]], x: Heading, y: Heading, y_span: Span
) -> list[dict[str, Any]]:
    """The front's models from left to right, each with where its name is written so that names do not overlap."""
    heights = spread([y_span.position(line[y.key]) for _, line in optimal], _LABEL_PX / HEIGHT)
    named = [
        {x.key: line[x.key], y.key: line[y.key], "label": sheet.short_labels[at], "label_y": y_span.value(height)}
        for (at, line), height in zip(optimal, heights, strict=True)
    ]
    return sorted(named, key=lambda line: line[x.key])
