"""How much accuracy a unit of cost buys: a bar per model."""

from __future__ import annotations

import math

import altair as alt

from paretovit.report.figures import Data, Figure, capital, dressed, family_encodings
from paretovit.report.headings import Heading, Sheet, sheet_of
from paretovit.store import Table

WIDTH, BAR_PX = 620, 17
_MOST = 60  # bars that one can read
_PER = {"params": (1e6, "million parameters"), "macs": (1e9, "billion multiply-accumulates")}


class AccuracyPerCost(Figure):
    """Points of accuracy over millions of parameters, the highest first; the interval is that of the accuracy.

    After figure 3 of Nauen et al. 2023, "Which Transformer to Favor". Such a ratio rewards small models whatever they
    can do, and ranks differently by every cost, which the bars of macs beside those of parameters show. Without
    `cost`, parameters.
    """

    title = "Accuracy per unit of cost"
    needs = "a quality, and params or macs, of the same models"

    def __init__(self, cost: str = "params") -> None:
        self.cost = cost

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        return {name: cls(name) for name in _PER}

    def can_draw(self, table: Table) -> bool:
        return bool(self._bars(sheet_of(table)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        found = sorted(self._bars(sheet), key=lambda bar: -bar[1])
        size, words = _PER[self.cost]
        quality = sheet.qualities[0]
        bars = []
        for at, value, cost in found[:_MOST]:
            low, high = sheet.intervals(quality)[at]
            known = math.isfinite(high - low)
            bars.append(
                {
                    "model": sheet.labels[at],
                    "family": sheet.families[at],
                    "value": float(f"{value:.5g}"),
                    "low": 100 * low / (cost / size) if known else None,
                    "high": 100 * high / (cost / size) if known else None,
                }
            )
        data = Data(bars)
        y = alt.Y("model:N", sort=[bar["model"] for bar in bars], title="model", axis=alt.Axis(labelLimit=320))
        title = f"{quality.title} per {words} (points), higher is better"
        x = alt.X("value:Q", title=title, scale=alt.Scale(type="linear", zero=True))
        color = family_encodings(sheet.families[at] for at, _, _ in found[:_MOST])["color"]
        tooltip = [alt.Tooltip("model:N"), alt.Tooltip("family:N"), alt.Tooltip("value:Q", title="points")]
        marks = data.chart.mark_bar(opacity=0.85).encode(x=x, y=y, color=color, tooltip=tooltip)
        ends = data.chart.mark_rule(strokeWidth=1.4).encode(x=alt.X("low:Q", title=title), x2="high:Q", y=y)
        chart = alt.layer(marks, ends).properties(width=WIDTH, height=BAR_PX * len(bars))
        more = f" The {_MOST} highest of {len(found)} models." if len(found) > _MOST else ""
        said = (
            f"Percentage points of {quality.title} over {words}: it rewards small models, whatever they can do.{more}"
        )
        return dressed(chart, f"{capital(quality.title)} per {words}", [said], data)

    def _bars(self, sheet: Sheet) -> list[tuple[int, float, float]]:
        """Lines with points of accuracy per unit of cost, and the cost."""
        costs = [h for h in sheet.costs if h.column.indicator == self.cost]
        if not sheet.qualities or not costs:
            return []
        cost = max(costs, key=lambda h: _known(sheet, h))
        pairs = zip(sheet.values(sheet.qualities[0]), sheet.values(cost), strict=True)
        size = _PER[self.cost][0]
        return [
            (at, 100 * quality / (price / size), price)
            for at, (quality, price) in enumerate(pairs)
            if math.isfinite(quality) and math.isfinite(price) and price > 0
        ]


def _known(sheet: Sheet, heading: Heading) -> int:
    return sum(map(math.isfinite, sheet.values(heading)))
