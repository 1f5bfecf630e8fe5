"""What of a transformer's cost its layers take: token mixing, and in it attention itself, MLPs, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt

from paretovit.report.figures import Data, Figure, dressed
from paretovit.report.headings import described, sheet_of
from paretovit.store import Column, Table, differing

WIDTH, BAR_PX = 620, 20
_TITLES = {"time_share": "time", "macs_share": "macs", "params_share": "parameters"}
_ATTENTION = ("group fused attention", "group attention matmul", "group softmax")
_MIXERS, _MLPS = (".mixer", ".attn"), (".mlp",)
_COLORS = {"MLP": "#0072b2", "rest of token mixing": "#e69f00", "attention itself": "#d55e00", "the rest": "#bdbdbd"}


class LayerShares(Figure):
    """A bar per model and kind of cost, for models made of blocks of a mixer and an MLP, from the rows of `paretovit
    profile`. Attention itself is its products of tokens with tokens and the softmax between them, whichever operators
    these are; the rest of token mixing is mostly what makes queries, keys and values and brings the heads together.

    After Vadakkeveedu 2023, figures 2.2 and 2.3, which are of the blocks alone; here norms, stem and head are the rest.
    """

    title = "What layers take of the cost"
    needs = "shares of operator groups and of layers, as `paretovit profile` stores them"

    def can_draw(self, table: Table) -> bool:
        return any(True for _ in _bars(table))

    def draw(self, table: Table) -> alt.LayerChart:
        slices: list[dict[str, Any]] = [
            {"bar": f"{name} (%)", "part": part, "percent": round(100 * share, 3), "rank": rank}
            for name, shares in _bars(table)
            for rank, (part, share) in enumerate(shares.items())
        ]
        order = list(dict.fromkeys(one["bar"] for one in slices))
        data = Data(slices)
        blocks = data.chart.mark_bar(stroke="white", strokeWidth=0.5).encode(
            x=alt.X(
                "percent:Q",
                title="share of the whole (%)",
                stack="zero",
                scale=alt.Scale(domain=[0, 100], nice=False),
                axis=alt.Axis(tickCount=6),
            ),
            y=alt.Y("bar:N", title=None, sort=order, axis=alt.Axis(labelLimit=360, labelFontSize=11, ticks=False)),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(_COLORS), range=list(_COLORS.values())),
                legend=alt.Legend(title="layers", orient="bottom"),
            ),
            order="rank:Q",
            tooltip=[alt.Tooltip("bar:N"), alt.Tooltip("part:N"), alt.Tooltip("percent:Q", title="%", format=".1f")],
        )
        chart = alt.layer(blocks).properties(width=WIDTH, height=BAR_PX * len(order))
        subtitle = ["Time is inside operators; multiply-accumulates and parameters are counted."]
        if any("!" in bar for bar in order):
            subtitle.append("! taken while others used the machine: claims nothing")
        return dressed(chart, self.title, subtitle, data)


def _bars(table: Table) -> Iterator[tuple[str, dict[str, float]]]:
    """The name of every bar and its parts, in the order of `_COLORS`: by model, then as in `_TITLES`."""
    wholes: dict[Column, dict[str, int]] = {}
    for at, column in enumerate(table.columns):
        part = str(column.conditions.part or "")
        if column.indicator in _TITLES and part.startswith(("group ", "layer")):
            whole = Column(column.indicator, column.conditions.of_part(""))
            wholes.setdefault(whole, {})[part] = at
    told = list(differing([whole.conditions for whole in wholes if whole.indicator == "time_share"]))
    order = sorted(wholes, key=lambda whole: list(_TITLES).index(whole.indicator))
    for label, cells in zip(sheet_of(table).labels, table.cells, strict=True):
        for whole in order:
            rows = {part: row for part, at in wholes[whole].items() if (row := cells[at]) is not None}
            found = {part: row.value for part, row in rows.items() if row.value is not None}
            shares = _parts(found)
            if shares is not None:
                timed = whole.indicator == "time_share"
                words = [label, _TITLES[whole.indicator], described(whole.conditions, told) if timed else ""]
                busy = " !" if any(row.origin.timing.get("contended") for row in rows.values()) else ""
                yield ", ".join(word for word in words if word) + busy, shares


def _parts(found: dict[str, float]) -> dict[str, float] | None:
    """Shares of the whole by the parts of `_COLORS`; None for a model of other layers, or where layers are unknown."""
    layers = {part: share for part, share in found.items() if part.startswith("layer")}
    mixing = sum(share for part, share in layers.items() if part.endswith(_MIXERS))
    mlps = sum(share for part, share in layers.items() if part.endswith(_MLPS))
    whole = sum(layers.values())
    if not (mixing and mlps and whole):
        return None
    attention = min(sum(found.get(group, 0.0) for group in _ATTENTION), mixing)
    sizes = (mlps, mixing - attention, attention, whole - mixing - mlps)
    return {part: size / whole for part, size in zip(_COLORS, sizes, strict=True)}
