"""What cost is made of: stacked bars of operator groups, for time, multiply-accumulates and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import altair as alt

from paretovit.analysis.breakdown import cosine_distance
from paretovit.cost.groups import GROUPS
from paretovit.report.figures import INK, Data, Figure, dressed
from paretovit.report.headings import described, sheet_of
from paretovit.store import Column, Table, differing

WIDTH, BAR_PX = 620, 20
_GROUP = "group "
_TITLES = {"time_share": "time", "macs_share": "macs", "bytes_moved_share": "bytes moved"}
# of Okabe and Ito 2008 as far as they go; what only moves data is grey
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
}


@dataclass(frozen=True)
class _Bar:
    model: str
    title: str
    shares: dict[str, float]
    busy: bool


class Breakdown(Figure):
    """A bar per model and kind of cost, from the rows of `paretovit profile`; beside a bar of time, how far it is from
    that of multiply-accumulates (cosine distance)."""

    title = "What cost is made of"
    needs = "shares of operator groups, as `paretovit profile` stores them"

    def can_draw(self, table: Table) -> bool:
        return any(True for _ in _bars(table))

    def draw(self, table: Table) -> alt.LayerChart:
        bars = list(_bars(table))
        macs = {bar.model: bar.shares for bar in bars if bar.title == "macs"}
        slices: list[dict[str, Any]] = []
        ends: list[dict[str, Any]] = []
        for bar in bars:
            name = f"{bar.model}, {bar.title} (%)"
            whole = sum(bar.shares.values())
            for group, share in bar.shares.items():
                percent = round(100 * share / whole, 3)
                slices.append({"bar": name, "model": bar.model, "group": group, "percent": percent,
                               "rank": GROUPS.index(group)})  # fmt: skip
            if bar.title.startswith("time") and bar.model in macs:
                said = f"{cosine_distance(bar.shares, macs[bar.model]):.3f}{' !' if bar.busy else ''}"
                ends.append({"bar": name, "model": bar.model, "percent": 100, "said": said})
        order = list(dict.fromkeys(one["bar"] for one in slices))
        present = [group for group in GROUPS if any(one["group"] == group for one in slices)]
        y = alt.Y("bar:N", title=None, sort=order, axis=alt.Axis(labelLimit=360, labelFontSize=11, ticks=False))
        x_title = "share of the whole (%)"
        scale = alt.Scale(domain=[0, 100], nice=False)
        all_slices, all_ends = Data(slices), Data(ends)
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
        layers = [blocks]
        subtitle = ["Time is inside operators; shares of multiply-accumulates and bytes are counted."]
        if ends:
            layers.append(
                all_ends.chart.mark_text(align="left", dx=6, fontSize=11, color=INK).encode(
                    x=alt.X("percent:Q", title=x_title, scale=scale), y=y, text="said:N"
                )
            )
            subtitle.append("Beside a bar of time: its cosine distance from the model's multiply-accumulates.")
        if any(bar.busy for bar in bars):
            subtitle.append("! taken while others used the machine: claims nothing")
        chart = alt.layer(*layers).properties(width=WIDTH, height=BAR_PX * len(order))
        return dressed(chart, self.title, subtitle, all_slices, all_ends)


def _bars(table: Table) -> Iterator[_Bar]:
    """By model, then time before counts; what tells several times of a model apart is in their titles."""
    columns = [c for c in table.columns if c.indicator in _TITLES and str(c.conditions.part).startswith(_GROUP)]
    wholes: dict[Column, list[Column]] = {}
    for column in columns:
        wholes.setdefault(Column(column.indicator, column.conditions.of_part("")), []).append(column)
    times = [whole.conditions for whole in wholes if whole.indicator == "time_share"]
    told = list(differing(times))
    labels = sheet_of(table).labels
    for at, label in enumerate(labels):
        for whole in sorted(wholes, key=lambda whole: list(_TITLES).index(whole.indicator)):
            rows = [(column, table.cells[at][table.columns.index(column)]) for column in wholes[whole]]
            shares = {
                str(column.conditions.part).removeprefix(_GROUP): row.value
                for column, row in rows
                if row is not None and row.value is not None
            }
            shares = {group: share for group, share in shares.items() if group in GROUPS}
            if sum(shares.values()) > 0:
                words = (
                    _TITLES[whole.indicator],
                    described(whole.conditions, told) if "time" in whole.indicator else "",
                )
                busy = any(row is not None and row.origin.timing.get("contended", False) for _, row in rows)
                yield _Bar(label, ", ".join(word for word in words if word), shares, busy)
