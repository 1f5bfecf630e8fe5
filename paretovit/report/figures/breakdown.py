"""What cost is made of: stacked bars of operator groups, for time, multiply-accumulates and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import altair as alt

from paretovit.analysis.breakdown import cosine_distance
from paretovit.cost.groups import GROUPS
from paretovit.report.figures import Figure
from paretovit.report.figures._group_bars import Bar, group_bars, told, wholes
from paretovit.report.headings import described
from paretovit.store import Table

_GROUP = "group "
_TITLES = {"time_share": "time", "macs_share": "macs", "bytes_moved_share": "bytes moved"}


class Breakdown(Figure):
    """A bar per model and kind of cost, from the rows of `paretovit profile`; beside a bar of time, how far it is from
    that of multiply-accumulates (cosine distance)."""

    title = "What cost is made of"
    needs = "shares of operator groups, as `paretovit profile` stores them"

    def can_draw(self, table: Table) -> bool:
        return any(True for _ in _bars(table))

    def draw(self, table: Table) -> alt.LayerChart:
        bars = list(_bars(table))
        macs = {bar.model: bar.shares for bar in bars if bar.title == _TITLES["macs_share"]}
        subtitle = ["Time is inside operators; shares of multiply-accumulates and bytes are counted."]
        for at, bar in enumerate(bars):
            if bar.title.startswith(_TITLES["time_share"]) and bar.model in macs:
                distance = cosine_distance(bar.shares, macs[bar.model])
                bars[at] = replace(bar, said=f"{distance:.3f}{' !' if bar.busy else ''}")
        if any(bar.said for bar in bars):
            subtitle.append("Beside a bar of time: its cosine distance from the model's multiply-accumulates.")
        return group_bars(bars, self.title, subtitle)


def _bars(table: Table) -> Iterator[Bar]:
    """By model, then time before counts; what tells several times of a model apart is in their titles."""
    found = list(wholes(table, list(_TITLES)))
    times = told([whole for whole in found if whole.column.indicator == "time_share"])
    for whole in found:
        named = {part.removeprefix(_GROUP): share for part, share in whole.parts.items() if part.startswith(_GROUP)}
        shares = {group: share for group, share in named.items() if group in GROUPS}
        if sum(shares.values()) > 0:
            indicator, conditions = whole.column.indicator, whole.column.conditions
            words = (_TITLES[indicator], described(conditions, times) if indicator == "time_share" else "")
            yield Bar(whole.model, ", ".join(word for word in words if word), shares, sum(shares.values()), whole.busy)
