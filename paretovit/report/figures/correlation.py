"""How far any two indicators put the models in the same order, or on a line."""

from __future__ import annotations

import math

import altair as alt

from paretovit.analysis.correlate import METHODS, correlate
from paretovit.report.figures import INK, Data, Figure, capital, dressed
from paretovit.report.headings import sheet_of
from paretovit.store import Table

_CELL_PX = 46
_SAID = {
    "pearson": "Pearson's r: do the values lie on a straight line?",
    "spearman": "Spearman's rho: do the ranks lie on a straight line?",
    "kendall": "Kendall's tau: of all pairs of models, how many more are ordered alike than oppositely?",
}


class Correlation(Figure):
    """A square of coefficients, from -1 (orange) by 0 (white) to 1 (blue), over the models that have both values."""

    title = "Correlation of all indicators"
    needs = "two indicators that vary, of the same three models or more"

    def __init__(self, method: str = "kendall") -> None:
        self.method = method

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        return {method: cls(method) for method in METHODS}

    def can_draw(self, table: Table) -> bool:
        sheet = sheet_of(table)
        return len(table.lines) >= 3 and sum(map(sheet.varies, sheet.headings)) >= 2

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        chosen = [h for h in (*sheet.qualities, *sheet.costs) if sheet.varies(h)]
        result = correlate(list(zip(*(sheet.values(h) for h in chosen), strict=True)), self.method)
        cells = []
        for i, row in enumerate(chosen):
            for j, column in enumerate(chosen):
                r, n = float(result.r[i, j]), int(result.n[i, j])
                known = math.isfinite(r)
                text = f"{r:.2f}".replace("-", "−") if known else "–"
                cells.append({"a": row.label, "b": column.label, "r": r if known else None, "text": text, "n": n})
        order = [h.label for h in chosen]
        data = Data(cells)
        base = data.chart.encode(
            x=alt.X("b:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=260, orient="bottom")),
            y=alt.Y("a:N", sort=order, title=None, axis=alt.Axis(labelLimit=260)),
            tooltip=[
                alt.Tooltip("a:N", title="this"),
                alt.Tooltip("b:N", title="with"),
                alt.Tooltip("text:N", title=self.method.capitalize()),
                alt.Tooltip("n:Q", title="models with both"),
            ],
        )
        legend = alt.Legend(title=None, orient="right", gradientLength=180)
        squares = base.mark_rect(stroke="white", strokeWidth=1).encode(
            color=alt.Color(
                "r:Q",
                scale=alt.Scale(domain=[-1, 0, 1], range=["#d55e00", "#ffffff", "#0072b2"], interpolate="rgb"),
                legend=legend,
            )
        )
        numbers = base.mark_text(fontSize=12).encode(
            text="text:N",
            color=alt.condition("datum.r > 0.7", alt.value("white"), alt.value(INK)),
        )
        side = _CELL_PX * len(chosen)
        return dressed(
            alt.layer(squares, numbers).properties(width=side, height=side * 3 // 4),
            capital(self.title),
            [_SAID[self.method]],
            data,
        )
