"""How often two costs put a pair of models in opposite orders."""

from __future__ import annotations

import math
from functools import lru_cache

import altair as alt

from paretovit.analysis.disagree import Agreement, Cost, Reversal, disagree
from paretovit.report.figures import INK, LINES, Data, Figure, dressed, in_lines
from paretovit.report.headings import Sheet, sheet_of
from paretovit.store import Table

_CELL_PX = 46
_COSTS = 20  # of which one can read a square
_MOST = 100  # reversals of each two costs: far more than anybody is shown


class Disagreement(Figure):
    """For every two costs, the share of pairs of models that both tell apart and order oppositely."""

    title = "Where costs disagree"
    needs = "two costs of the same models whose intervals tell some of them apart"

    def can_draw(self, table: Table) -> bool:
        return any(agreement.claimed for agreement in reversals(sheet_of(table))[1])

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        agreements = reversals(sheet)[1]
        # a cost that tells no two models apart, such as a time taken once, has nothing to disagree with
        claiming = sorted({at for found in agreements if found.claimed for at in (found.a, found.b)})
        shown = claiming[:_COSTS]
        names = [in_lines(h.label) for h in sheet.costs]
        labels = [name for at, name in enumerate(names) if at in shown]
        cells = [
            {
                "a": names[found.b],
                "b": names[found.a],
                "share": found.share if found.claimed else None,
                "text": f"{found.share:.0%}" if found.claimed else "–",
                "said": f"{found.reversed} of {found.claimed} pairs of models that both tell apart",
            }
            for found in agreements
            if found.a in shown and found.b in shown
        ]
        top = max((cell["share"] for cell in cells if cell["share"] is not None), default=0.0)
        data = Data(cells)
        base = data.chart.encode(
            x=alt.X("b:N", sort=labels, title=None, axis=alt.Axis(labelAngle=-40, **LINES)),
            y=alt.Y("a:N", sort=labels, title=None, axis=alt.Axis(**LINES)),
            tooltip=[
                alt.Tooltip("a:N", title="this"),
                alt.Tooltip("b:N", title="against"),
                alt.Tooltip("said:N", title="opposite orders"),
            ],
        )
        squares = base.mark_rect(stroke="white", strokeWidth=1).encode(
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(domain=[0, max(top, 0.01)], range=["#ffffff", "#d55e00"], interpolate="rgb"),
                legend=None,
            )
        )
        numbers = base.mark_text(fontSize=12, color=INK).encode(text="text:N")
        side = _CELL_PX * (len(labels) - 1)
        said = ["Of the pairs of models that both costs tell apart, the share that they put in opposite orders."]
        if len(shown) < len(claiming):
            said.append(f"The {len(shown)} foremost of {len(claiming)} costs.")
        chart = alt.layer(squares, numbers).properties(width=side, height=side * 3 // 4)
        return dressed(chart, self.title, said, data)


@lru_cache(maxsize=4)
def reversals(sheet: Sheet) -> tuple[list[Reversal], list[Agreement]]:
    """`disagree` over the costs of a sheet, in the order of `sheet.costs`, with the strongest reversals of each two."""
    unknown = (-math.inf, math.inf)
    costs = [
        Cost(
            sheet.values(h),
            [unknown if math.isnan(low) else (low, high) for low, high in sheet.intervals(h)],
            h.lower_is_better,
        )
        for h in sheet.costs
    ]
    return disagree(costs, most=_MOST)
