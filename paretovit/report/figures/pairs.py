"""Any two indicators over each other, with the front between them: one chart for all pairs of a page."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from paretovit.report.figures import FAINT, INK, Figure, all_models, dressed, family_encodings, span
from paretovit.report.headings import Heading, Sheet, sheet_of
from paretovit.store import Column, Table

WIDTH, HEIGHT = 760, 430
_ROOM_PX = 40  # around the marks, for the names of those on the front


class Pairs(Figure):
    """Every model by two indicators, each in its own better direction; the models that none beats in both are ringed,
    named and joined.

    Who these are is worked out inside the chart, from parameters (`x_key`, `y_key` and the signs): a page that changes
    them shows another pair, and so has one chart for all pairs. Without `x` and `y`, the table's two foremost costs
    that some models share.
    """

    title = "Any two indicators, and the front between them"
    needs = "two costs of the same models"

    def __init__(self, x: Column | None = None, y: Column | None = None) -> None:
        self.x, self.y = x, y

    def can_draw(self, table: Table) -> bool:
        return self.axes(sheet_of(table)) is not None

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        axes = self.axes(sheet)
        assert axes is not None, "asked for what cannot be drawn"
        x, y = axes
        data = all_models(sheet)
        base = data.chart
        where: dict[str, Any] = {"x": _axis("x", sheet, x), "y": _axis("y", sheet, y)}
        step = alt.ExprRef("x_sign > 0 ? 'step-after' : 'step-before'")
        bars = base.mark_rule(color=FAINT, opacity=0.45)
        x_bars = bars.encode(x=alt.X("x_low:Q", title=x.axis), x2="x_high:Q", y=where["y"])
        y_bars = bars.encode(x=where["x"], y=alt.Y("y_low:Q", title=y.axis), y2="y_high:Q")
        best = base.transform_filter("datum.front")
        line = best.mark_line(interpolate=step, color=FAINT, strokeWidth=1.5, strokeDash=[5, 3]).encode(
            **where, order=alt.Order("x:Q")
        )
        rings = best.mark_point(size=420, color=INK, strokeWidth=1.4, filled=False).encode(**where)
        names = best.mark_text(dy=-14, fontSize=12, color=INK).encode(**where, text="model:N")
        colors = family_encodings(sheet.families)
        tooltip = [alt.Tooltip(f"{name}:N") for name in ("model", "family")]
        tooltip += [alt.Tooltip("x_text:N", title="across"), alt.Tooltip("y_text:N", title="up")]
        marks = base.transform_filter("!datum.busy").mark_point(size=120, filled=True, opacity=0.9)
        hollow = base.transform_filter("datum.busy").mark_point(size=110, filled=False, strokeWidth=1.8, fill="white")
        layers = [x_bars, y_bars, line, rings, *(m.encode(**where, **colors, tooltip=tooltip) for m in (marks, hollow))]
        chart = alt.layer(*layers, names).add_params(
            alt.param(name="x_key", value=x.key),
            alt.param(name="y_key", value=y.key),
            alt.param(name="x_sign", value=1 if x.lower_is_better else -1),
            alt.param(name="y_sign", value=1 if y.lower_is_better else -1),
        )
        chart = chart.transform_calculate(
            **{axis: f"datum[{axis}_key]" for axis in "xy"},
            **{f"{axis}_{part}": f"datum[{axis}_key + '_{part}']" for axis in "xy" for part in ("low", "high", "text")},
            busy="datum[x_key + '_busy'] || datum[y_key + '_busy'] || false",
        ).transform_filter("isValid(datum.x) && isValid(datum.y)")
        # Sorted by the one, a model is on the front if none up to its own place is better in the other, and none that
        # is as good in the other comes before. What the machine was busy for beats nobody: it goes to the end.
        chart = (
            chart.transform_calculate(
                x_worse="datum.busy ? 1e300 : x_sign * datum.x", y_worse="datum.busy ? 1e300 : y_sign * datum.y"
            )
            .transform_window(frame=[None, 0], ignorePeers=False, sort=[alt.SortField("x_worse")], best="min(y_worse)")
            .transform_joinaggregate(first="min(x_worse)", groupby=["y_worse"])
            .transform_calculate(front="!datum.busy && datum.y_worse === datum.best && datum.x_worse === datum.first")
        )
        subtitle = ["Ringed and named: no other model is as good in both. Hollow: the machine was busy."]
        return dressed(chart.properties(width=WIDTH, height=HEIGHT), self.title, subtitle, data)

    def axes(self, sheet: Sheet) -> tuple[Heading, Heading] | None:
        """What is across and what is up: what was asked for, or the first two costs that share models, if any do."""
        if self.x is not None and self.y is not None:
            by_column = {h.column: h for h in (*sheet.costs, *sheet.qualities)}
            return by_column[self.x], by_column[self.y]
        for at, y in enumerate(sheet.costs):
            for x in sheet.costs[:at]:
                both = zip(sheet.values(x), sheet.values(y), strict=True)
                if any(math.isfinite(a) and math.isfinite(b) for a, b in both):
                    return x, y
        return None


def is_log(sheet: Sheet, heading: Heading) -> bool:
    """Whether an axis of these values is better logarithmic."""
    return span(sheet.values(heading)).log


def _axis(name: str, sheet: Sheet, heading: Heading) -> alt.X | alt.Y:
    scale = alt.Scale(type="log" if is_log(sheet, heading) else "linear", zero=False, nice=False, padding=_ROOM_PX)
    channel = alt.X if name == "x" else alt.Y
    return channel(f"{name}:Q", title=heading.axis, scale=scale, axis=alt.Axis(tickCount=7, format="~r"))
