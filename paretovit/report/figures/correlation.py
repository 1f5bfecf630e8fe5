"""How far any two indicators put the models in the same order, or on a line."""

from __future__ import annotations

import math

import altair as alt

from paretovit.analysis.correlate import METHODS, bootstrap, correlate
from paretovit.report.figures import INK, LINES, Data, Figure, capital, dressed, in_lines
from paretovit.report.headings import sheet_of
from paretovit.store import Table

_CELL_PX, _ROW_PX = 66, 38
_DRAWS, _FEW = 400, 100  # redraws of the models, and of more than _MANY models, which vary less from draw to draw
_MANY = 200
_SAID = {
    "pearson": "Pearson's r: do the values lie on a straight line?",
    "spearman": "Spearman's rho: do the ranks lie on a straight line?",
    "kendall": "Kendall's tau: of all pairs of models, how many more are ordered alike than oppositely?",
}


class Correlation(Figure):
    """A square of coefficients, from -1 (orange) by 0 (white) to 1 (blue), over the models that have both values.

    Kendall's have below them the 95% interval of models redrawn with replacement: how much they hang on a few models.
    """

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
        varied = [h for h in (*sheet.qualities, *sheet.costs) if sheet.varies(h)]
        chosen = [h for h in varied if h in sheet.figured_qualities or h in sheet.figured_costs]
        values = [sheet.values(h) for h in chosen]
        result = correlate(list(zip(*values, strict=True)), self.method)
        order = [in_lines(h.label) for h in chosen]
        cells = []
        for i, row in enumerate(order):
            for j, column in enumerate(order):
                r, n = float(result.r[i, j]), int(result.n[i, j])
                known = math.isfinite(r)
                text = f"{r:.2f}".replace("-", "−") if known else "–"
                cell = {"a": row, "b": column, "r": round(r, 4) if known else None, "text": text, "n": n}
                if self.method == "kendall" and known and i != j:
                    # the same way round for both of its cells, so that they say the same
                    first, second = sorted((i, j))
                    draws = _DRAWS if n <= _MANY else _FEW
                    ends = bootstrap(values[first], values[second], self.method, draws=draws)
                    cell["between"] = " ".join(f"{end:.2f}".replace("-", "−") for end in ends)
                cells.append(cell)
        data = Data(cells)
        base = data.chart.encode(
            x=alt.X("b:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, orient="bottom", **LINES)),
            y=alt.Y("a:N", sort=order, title=None, axis=alt.Axis(**LINES)),
            tooltip=[
                alt.Tooltip("a:N", title="this"),
                alt.Tooltip("b:N", title="with"),
                alt.Tooltip("text:N", title=self.method.capitalize()),
                alt.Tooltip("between:N", title="95% interval"),
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
        shade = alt.condition("datum.r > 0.7", alt.value("white"), alt.value(INK))
        layers = [squares, base.mark_text(fontSize=12).encode(text="text:N", color=shade)]
        said = [_SAID[self.method]]
        if self.method == "kendall":
            layers[1] = base.mark_text(fontSize=12, dy=-6).encode(text="text:N", color=shade)
            layers.append(
                base.transform_filter("isValid(datum.between)")
                .mark_text(fontSize=9.5, dy=8)
                .encode(text="between:N", color=shade)
            )
            said.append("Below it the 95% interval of models redrawn with replacement.")
        if len(chosen) < len(varied):
            said.append(f"The {len(chosen)} foremost of {len(varied)} indicators.")
        chart = alt.layer(*layers).properties(width=_CELL_PX * len(chosen), height=_ROW_PX * len(chosen))
        return dressed(chart, capital(self.title), said, data)
