"""From how many tokens on each architecture costs less than softmax attention, for several costs at once."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from paretovit.report.figures import GRID, Data, Figure, dressed
from paretovit.report.headings import Heading, Sheet, sheet_of, short
from paretovit.report.series import Growth, grown_costs, growths, said, shared_size
from paretovit.store import Table

WIDTH = 620
_ROW_PX = 11  # for each cost of an architecture
_COSTS = 6
_UNITS = {"s", "B"}  # parameters and operations are told by formulas, whatever the machine
_NEVER = "not within"  # what the axis says past the largest number of tokens
# colours of Okabe and Ito 2008 with a shape each
_LOOKS = (
    ("#0072b2", "circle"), ("#d55e00", "square"), ("#009e73", "diamond"),
    ("#cc79a7", "triangle-up"), ("#e69f00", "triangle-down"), ("#000000", "cross"),
)  # fmt: skip


class Crossovers(Figure):
    """One row per architecture and one mark per cost, at the number of tokens from which the cost is less beyond the
    noise; filled where that is so from the least number measured on, or from one between, hollow and at the right edge
    where it is not within what was measured. Ordered by the first cost."""

    title = "From how many tokens on it pays"
    needs = "a cost of softmax attention and of another mixer in the same frame, both at the same two numbers of tokens"

    def can_draw(self, table: Table) -> bool:
        return bool(_compared(sheet_of(table)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        every = _compared(sheet)
        found = dict(list(every.items())[:_COSTS])
        counts = sorted({n for compared in found.values() for growth in compared for n in growth.common})
        size = shared_size(growth for compared in found.values() for growth in compared)
        beyond = counts[-1] * (counts[-1] / counts[0]) ** 0.12
        points = [
            {
                "series": growth.series.name.removesuffix(size),
                "family": growth.series.family,
                "cost": short(heading, found),
                "tokens": float(f"{min(growth.against.size, beyond):.6g}"),
                "kind": growth.against.kind,
                "said": said(growth),
            }
            for heading, compared in found.items()
            for growth in compared
            if growth.against is not None
        ]
        costs = [short(heading, found) for heading in found]
        names = [name.removesuffix(size) for name in _in_order(found)]
        data = Data(points)
        x = alt.X(
            "tokens:Q",
            title="patches of an image (tokens)",
            scale=alt.Scale(type="log", base=2, nice=False, domain=[counts[0] / 1.2, beyond * 1.2]),
            axis=alt.Axis(
                values=[*counts, beyond],
                labelExpr=f"datum.value > {counts[-1] * 1.01} ? '{_NEVER}' : format(datum.value, ',d')",
                labelOverlap=False,
            ),
        )
        y = alt.Y(
            "series:N",
            sort=names,
            title="model",
            axis=alt.Axis(grid=True, gridColor=GRID, tickBand="extent", labelLimit=260),
        )
        marks = data.chart.mark_point(size=58, strokeWidth=1.6).encode(
            x=x,
            y=y,
            yOffset=alt.YOffset("cost:N", sort=costs),
            color=_looks("color", costs, 0),
            shape=_looks("shape", costs, 1),
            fillOpacity=alt.when("datum.kind != 'never'").then(alt.value(1)).otherwise(alt.value(0)),
            fill=_looks("fill", costs, 0),
            tooltip=[
                alt.Tooltip("series:N", title="architecture"),
                alt.Tooltip("family:N"),
                alt.Tooltip("cost:N"),
                alt.Tooltip("said:N", title="less than softmax attention"),
            ],
        )
        height = _ROW_PX * (len(costs) + 1) * len(names)
        subtitle = [
            "Less than softmax attention as one operator from so many tokens on, beyond the noise; "
            f"at {counts[0]:,}: at every number measured.",
            f"Hollow: not within the {counts[-1]:,} tokens that were measured.",
        ]
        if len(every) > len(found):
            subtitle.append(f"The {len(found)} foremost of {len(every)} costs.")
        chart = alt.layer(marks).properties(width=WIDTH, height=height)
        return dressed(chart, self.title, subtitle, data)


def _compared(sheet: Sheet) -> dict[Heading, list[Growth]]:
    """By cost in time or memory, foremost first, the architectures of which it can be told."""
    costs = [h for h in grown_costs(sheet) if {row.unit for row in sheet.rows(h) if row is not None} <= _UNITS]
    found = {h: [g for g in growths(sheet, h) if g.against is not None] for h in costs}
    return {heading: compared for heading, compared in found.items() if compared}


def _in_order(found: dict[Heading, list[Growth]]) -> list[str]:
    """Architectures by where the first cost that has them crosses; by how much less they cost where that is equal."""
    first: dict[str, tuple[float, float]] = {}
    for compared in found.values():
        for growth in compared:
            size = math.inf if growth.against is None else growth.against.size
            first.setdefault(growth.series.name, (size, growth.ratio))
    return sorted(first, key=first.__getitem__)


def _looks(channel: str, costs: list[str], at: int) -> Any:
    scale = alt.Scale(domain=costs, range=[look[at] for look in _LOOKS[: len(costs)]])
    legend = alt.Legend(title=None, orient="top", columns=2, labelLimit=300) if channel != "fill" else None
    encoding = {"color": alt.Color, "shape": alt.Shape, "fill": alt.Fill}[channel]
    return encoding("cost:N", scale=scale, legend=legend)
