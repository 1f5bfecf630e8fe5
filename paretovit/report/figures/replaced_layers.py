"""Accuracy over the cost that is left, as a share of the parent's, by which layers are replaced and by what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import altair as alt

from paretovit.report.figures import FAINT, INK, Data, Figure, Span, accuracy_record, capital, dressed, span, spread
from paretovit.report.headings import Heading, Sheet, described, sheet_of
from paretovit.report.replaced import Child, Siblings, setting, siblings
from paretovit.store import Table

WIDTH, HEIGHT = 760, 430
_LABEL_PX = 14
_APART = 0.03  # of the width
_FEWEST = 2  # children of one parent
_COSTS = ("macs", "latency_s")
_COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#44aa99", "#999933"]


class ReplacedLayers(Figure):
    """The models made of one parent by replacing layers, all trained alike, over the share of its cost that they have;
    of several parents the one with the most. After Vadakkeveedu 2023, figures 3.22 and 3.23.

    `cost` is an indicator; multiply-accumulates without one.
    """

    title = "Accuracy and cost of replaced layers"
    needs = "accuracies of two models made of one parent by `paretovit replace`, and costs of all three"

    def __init__(self, cost: str = _COSTS[0]) -> None:
        self.cost = cost

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        return {name: cls(name) for name in _COSTS}

    def can_draw(self, table: Table) -> bool:
        return self._drawn(sheet_of(table)) is not None

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        found = self._drawn(sheet)
        assert found is not None, "can_draw said so"
        family, cost = found
        points = list(_points(sheet, family, cost))
        ends = [point[end] for point in points for end in ("top1", "low", "high") if point[end] is not None]
        x_span, y_span = span([point["share"] for point in points], before=0.06, after=0.28), span(ends)
        labels = [
            point | {"label_y": y_span.value(height)}
            for column in _columns(points, x_span)
            for point, height in zip(
                column, spread([y_span.position(point["top1"]) for point in column], _LABEL_PX / HEIGHT), strict=True
            )
        ]
        mixers = list(dict.fromkeys(point["mixer"] for point in points))

        marks, texts = Data(points), Data(labels)
        x_title = f"{cost.name} as a share of the parent's (%), lower is better"
        y_title = f"{family.children[0].heading.name} (%), higher is better"
        x = alt.X("share:Q", title=x_title, scale=x_span.scale, axis=alt.Axis(tickCount=8))
        y = alt.Y("top1:Q", title=y_title, scale=y_span.scale)
        legend = alt.Legend(title="in place of the layers", orient="bottom", columns=5)
        palette = [INK, *(_COLORS[at % len(_COLORS)] for at in range(len(mixers) - 1))]  # the parent comes first
        color = alt.Color("mixer:N", scale=alt.Scale(domain=mixers, range=palette), legend=legend)
        tooltip = [
            alt.Tooltip("name:N"),
            alt.Tooltip("share:Q", title=f"{cost.name}, % of the parent's", format=".1f"),
            alt.Tooltip("text:N", title="top-1 accuracy"),
        ]
        bars = (
            marks.chart.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.4, opacity=0.5)
            .encode(x=x, y=alt.Y("low:Q", title=y_title), y2="high:Q", color=color)
        )
        dots = marks.chart.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=color, tooltip=tooltip)
        leaders = texts.chart.mark_rule(strokeWidth=0.7, opacity=0.5, color=FAINT).encode(x=x, y=y, y2="label_y:Q")
        names = texts.chart.mark_text(align="left", dx=9, fontSize=11, color=INK).encode(
            x=x, y=alt.Y("label_y:Q", title=y_title), text="label:N"
        )
        chart = alt.layer(bars, leaders, dots, names).properties(width=WIDTH, height=HEIGHT)
        told = setting(_alike(family)[0])
        where = described(cost.column.conditions, ("device", "runtime", "dtype", "batch_size", "threads"))
        subtitle = [
            f"All were trained by alpha {told.alpha:g} of {told.loss}{told.more}, and {told.recipe}.",
            "Labels: the layers replaced, from 0. Bars: where a value may lie."
            + (f" {capital(cost.name)} on {where}." if where else ""),
        ]
        return dressed(chart, f"{family.name} with replaced layers, over {cost.name}", subtitle, marks, texts)

    def _drawn(self, sheet: Sheet) -> tuple[Siblings, Heading] | None:
        """The siblings to draw, and the column of the cost that most of them have."""
        for family in siblings(sheet):
            if family.parent is None or len({child.at for child in _alike(family)}) < _FEWEST:
                continue
            lines = {child.at for child in _alike(family)}
            known = {
                h: sum(math.isfinite(sheet.values(h)[at]) for at in lines)
                for h in sheet.headings
                if h.column.indicator == self.cost and math.isfinite(sheet.values(h)[family.parent[0]])
            }
            best = max(known, key=lambda h: known[h], default=None)
            if best is not None and known[best] >= _FEWEST:
                return family, best
        return None


def _columns(points: list[dict[str, Any]], x_span: Span) -> list[list[dict[str, Any]]]:
    """Points whose labels would lie upon one another, but for their heights."""
    found: list[list[dict[str, Any]]] = []
    for point in sorted(points, key=lambda point: point["share"]):
        at = x_span.position(point["share"])
        if found and at - x_span.position(found[-1][-1]["share"]) < _APART:
            found[-1].append(point)
        else:
            found.append([point])
    return found


def _alike(family: Siblings) -> list[Child]:
    """The children that were trained in the way that most were."""
    ways = Counter(setting(child) for child in family.children)
    return [child for child in family.children if setting(child) == ways.most_common(1)[0][0]]


def _points(sheet: Sheet, family: Siblings, cost: Heading) -> Iterator[dict[str, Any]]:
    assert family.parent is not None, "siblings without one are not drawn"
    at, heading = family.parent
    whole = sheet.values(cost)[at]
    yield {"mixer": "parent", "label": "parent", "share": 100.0} | accuracy_record(sheet, heading, at)
    for child in _alike(family):
        price = sheet.values(cost)[child.at]
        if math.isfinite(price):
            label = child.tried.where + child.tried.shape
            mixer = child.tried.mixer or str(child.tried)
            share = {"mixer": mixer, "label": label, "share": 100 * price / whole}
            yield share | accuracy_record(sheet, child.heading, child.at)
