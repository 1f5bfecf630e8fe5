"""Throughput over batch size: what led to the best batch size."""

from __future__ import annotations

from typing import Any

import altair as alt

from paretovit.report.figures import INK, Data, Figure, dressed, family_encodings, span, spread
from paretovit.report.headings import Heading, Sheet, sheet_of, slug
from paretovit.store import Column, Table

WIDTH, HEIGHT = 760, 430
_LABEL_PX = 14
_NAMES = 0.3  # room for the names beside the lines, as a part of the lines' length


class BatchCurve(Figure):
    """One line per model, from the curves that rows of throughput keep; its best batch size is marked.

    Without `column`, the first throughput of the table that has curves.
    """

    title = "Throughput over batch size"
    needs = "a row of images_per_s that keeps its curve"

    def __init__(self, column: Column | None = None) -> None:
        self.column = column

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        sheet = sheet_of(table)
        return {slug(sheet, h): cls(h.column) for h in cls().drawable(sheet)}

    def can_draw(self, table: Table) -> bool:
        return bool(self.drawable(sheet_of(table)))

    def drawable(self, sheet: Sheet) -> list[Heading]:
        """The columns that have curves, or of them the one asked for."""
        asked = [h for h in sheet.headings if self.column in (None, h.column)]
        return [h for h in asked if h.column.indicator == "images_per_s" and _curves(sheet, h)]

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        heading = self.drawable(sheet)[0]
        curves = _curves(sheet, heading)
        spots: list[dict[str, Any]] = []
        ends: list[dict[str, Any]] = []
        for at, curve in curves.items():
            best = max(rate for _, rate in curve)
            model = {"model": sheet.labels[at], "family": sheet.families[at]}
            spots += [model | {"batch": batch, "rate": rate, "best": rate == best} for batch, rate in curve]
            ends.append(model | {"label": sheet.short_labels[at], "batch": curve[-1][0], "rate": curve[-1][1]})
        ends = sorted(ends, key=lambda end: -end["rate"])[: HEIGHT // _LABEL_PX]
        y_span = span(spot["rate"] for spot in spots)
        heights = spread([y_span.position(end["rate"]) for end in ends], _LABEL_PX / HEIGHT)
        last = max(end["batch"] for end in ends)
        for end, height in zip(ends, heights, strict=True):
            end.update(label_y=y_span.value(height), last=last)

        ticks = sorted({spot["batch"] for spot in spots})
        x = alt.X(
            "batch:Q",
            title="batch size (images)",
            scale=alt.Scale(type="log", base=2, nice=False, domain=[ticks[0], last * (last / ticks[0]) ** _NAMES]),
            axis=alt.Axis(values=ticks, format="d", grid=False),
        )
        y_title = "throughput (images/s), higher is better"
        y = alt.Y("rate:Q", title=y_title, scale=y_span.scale, axis=alt.Axis(tickCount=6, format="~r"))
        colors = family_encodings(spot["family"] for spot in spots)
        tooltip = [
            alt.Tooltip("model:N"),
            alt.Tooltip("family:N"),
            alt.Tooltip("batch:Q", title="batch size"),
            alt.Tooltip("rate:Q", title="images/s", format=",.4~r"),
        ]
        all_spots, all_ends = Data(spots), Data(ends)
        base = all_spots.chart
        lines = base.mark_line(strokeWidth=1.5, opacity=0.75).encode(
            x=x, y=y, color=colors["color"], detail="model:N", tooltip=tooltip
        )
        marks = base.mark_point(filled=True, opacity=1).encode(
            x=x, y=y, **colors, size=alt.condition("datum.best", alt.value(120), alt.value(26)), tooltip=tooltip
        )
        ended = all_ends.chart
        leaders = ended.mark_rule(strokeWidth=0.7, opacity=0.5).encode(
            x=x, y=y, y2="label_y:Q", x2="last:Q", color=colors["color"]
        )
        texts = ended.mark_text(align="left", dx=10, fontSize=11, color=INK).encode(
            x=alt.X("last:Q", title="batch size (images)"), y=alt.Y("label_y:Q", title=y_title), text="label:N"
        )
        chart = alt.layer(lines, marks, leaders, texts).properties(width=WIDTH, height=HEIGHT)
        said = ["The large mark is each model's best batch size."]
        if len(ends) < len(curves):
            said.append(f"Named: the {len(ends)} fastest of {len(curves)} models.")
        return dressed(chart, self.title, said, all_spots, all_ends)


def _curves(sheet: Sheet, heading: Heading) -> dict[int, list[tuple[int, float]]]:
    """By line: pairs of batch size and images per second, smallest batch first."""
    curves = {}
    for at, row in enumerate(sheet.rows(heading)):
        curve = row.origin.timing.get("curve", ()) if row is not None and row.value is not None else ()
        if len(curve) > 1:
            curves[at] = sorted((int(batch), float(rate)) for batch, rate in curve)
    return curves
