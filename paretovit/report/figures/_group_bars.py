"""Stacked bars of operator groups: what the figures of a call and of a training step are drawn by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt

from paretovit.cost.groups import OUTSIDE
from paretovit.report.figures import INK, Data, dressed
from paretovit.report.headings import sheet_of
from paretovit.store import Column, Table, differing

WIDTH, BAR_PX = 620, 20
# of Okabe and Ito 2008 as far as they go; what only moves data is grey, what is in no operator nearly white
_COLORS = {
    "linear": "#0072b2",
    "convolution": "#56b4e9",
    "fused attention": "#e69f00",
    "attention matmul": "#f0c05a",
    "softmax": "#d55e00",
    "norm": "#009e73",
    "element-wise": "#cc79a7",
    "reshape/transpose": "#8a8a8a",
    "gather": "#4d4d4d",
    "FFT": "#f0e442",
    "other": "#cfcfcf",
    OUTSIDE: "#efe9dc",
}
_ORDER = list(_COLORS)
BUSY = "! taken while others used the machine: claims nothing"


# shows of the key of a bar under a heading what follows the heading, and of the heading, which is in the plot, nothing
_UNDER = {"labelExpr": "indexof(datum.label, '\\n') < 0 ? '' : split(datum.label, '\\n')[1]"}


@dataclass(frozen=True)
class Bar:
    """A model's shares by group under a title; they are drawn as parts of `whole`, which several bars may make up
    together. `heading` stands above the bars that have the same, if it is not ""; `said` behind the end of the axis;
    `busy` if others used the machine."""

    model: str
    title: str
    shares: dict[str, float]
    whole: float
    busy: bool = False
    said: str = ""
    heading: str = ""

    @property
    def key(self) -> str:
        return f"{self.heading}\n{self.title} (%)" if self.heading else f"{self.model}, {self.title} (%)"


def group_bars(bars: Sequence[Bar], title: str, subtitle: Sequence[str]) -> alt.LayerChart:
    """The bars from top to bottom, each from the left end of one axis of percent; all have a heading, or none has."""
    slices: list[dict[str, Any]] = [
        {"bar": bar.key, "model": bar.model, "group": group, "percent": round(100 * share / bar.whole, 3),
         "rank": _ORDER.index(group)}
        for bar in bars
        for group, share in bar.shares.items()
    ]  # fmt: skip
    ends = [{"bar": bar.key, "model": bar.model, "percent": 100, "said": bar.said} for bar in bars if bar.said]
    above = {bar.heading: {"bar": f"{bar.heading} (%)", "model": bar.model, "percent": 0, "said": bar.heading}
             for bar in bars if bar.heading}  # fmt: skip
    order: list[str] = []
    for bar in bars:
        order += [key for key in ([f"{bar.heading} (%)"] if bar.heading else []) + [bar.key] if key not in order]
    present = [group for group in _ORDER if any(one["group"] == group for one in slices)]
    labels = alt.Axis(labelLimit=360, labelFontSize=11, ticks=False, **(_UNDER if above else {}))
    y = alt.Y("bar:N", title=None, sort=order, axis=labels)
    x_title = "share of the whole (%)"
    scale = alt.Scale(domain=[0, 100], nice=False)
    all_slices = Data(slices)
    blocks = all_slices.chart.mark_bar(stroke="white", strokeWidth=0.5).encode(
        x=alt.X("percent:Q", title=x_title, stack="zero", scale=scale, axis=alt.Axis(tickCount=6)),
        y=y,
        color=alt.Color(
            "group:N",
            scale=alt.Scale(domain=present, range=[_COLORS[group] for group in present]),
            legend=alt.Legend(title="operators", orient="bottom"),
        ),
        order="rank:Q",
        tooltip=[alt.Tooltip("bar:N"), alt.Tooltip("group:N"), alt.Tooltip("percent:Q", title="%", format=".1f")],
    )
    layers, data = [blocks], [all_slices]
    for texts, size, weight in ((ends, 11, "normal"), (list(above.values()), 12, "bold")):
        if texts:
            data.append(Data(texts))
            layers.append(
                data[-1]
                .chart.mark_text(align="left", dx=6, fontSize=size, fontWeight=weight, color=INK)
                .encode(x=alt.X("percent:Q", title=x_title, scale=scale), y=y, text="said:N")
            )
    busy = [BUSY] if any(bar.busy for bar in bars) else []
    chart = alt.layer(*layers).properties(width=WIDTH, height=BAR_PX * len(order))
    return dressed(chart, title, [*subtitle, *busy], *data)


class Whole(NamedTuple):
    """What a model's parts add to: a column without its part, the value of each part by its name, and whether others
    used the machine meanwhile."""

    model: str
    column: Column
    parts: dict[str, float]
    busy: bool


def wholes(table: Table, indicators: Sequence[str]) -> Iterator[Whole]:
    """Model by model, in the order of the indicators."""
    places: dict[Column, list[int]] = {}
    for at, column in enumerate(table.columns):
        if column.indicator in indicators and column.conditions.part is not None:
            places.setdefault(Column(column.indicator, column.conditions.of_part("")), []).append(at)
    order = sorted(places, key=lambda whole: indicators.index(whole.indicator))
    for model, cells in zip(sheet_of(table).labels, table.cells, strict=True):
        for whole in order:
            rows = [row for at in places[whole] if (row := cells[at]) is not None and row.value is not None]
            if rows:
                parts = {str(row.conditions.part): row.value or 0.0 for row in rows}
                yield Whole(model, whole, parts, any(row.origin.timing.get("contended", False) for row in rows))


def told(found: Sequence[Whole]) -> list[str]:
    """The conditions in which they differ."""
    return list(differing([whole.column.conditions for whole in found]))
