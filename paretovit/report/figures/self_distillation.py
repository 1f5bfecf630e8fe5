"""A layer that is taught by itself: how near its first weights have to be to what it is to become."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import replace
from typing import Any

import altair as alt

from paretovit.report.figures import FAINT, INK, Data, Figure, dressed, span
from paretovit.report.headings import Sheet, sheet_of
from paretovit.report.replaced import Run, runs, siblings
from paretovit.store import Table
from paretovit.training.replacing import Tried
from paretovit.training.rows import HELD_OUT

WIDTH, HEIGHT = 640, 400
_FEWEST = 3  # beginnings
_COLOR = "#0072b2"


class SelfDistillation(Figure):
    """A mark per run, a line through the means: what a copy of a layer has come to in the layer's place, over the share
    of the layer's own weights in those that it began with. After Vadakkeveedu 2023, figures 3.17 and 3.18.

    `quantity` is "top1" or "distillation_loss"; of several layers the one with most runs.
    """

    title = "A layer taught by itself"
    needs = "three beginnings of one copied layer, as `paretovit replace --mixer attention --start` makes them"

    def __init__(self, quantity: str = "top1") -> None:
        self.quantity = quantity

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        return {name: cls(name) for name in ("top1", "distillation_loss")}

    def can_draw(self, table: Table) -> bool:
        return bool(self._copies(sheet_of(table)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        found = self._copies(sheet)
        of_accuracy = self.quantity == "top1"
        points = [{"run": run.name, "seed": run.row.conditions.seed, **_place(run)} for run in found]
        for point in points:
            point["value"] = point[self.quantity]
        by_start: dict[float, list[float]] = defaultdict(list)
        for point in points:
            by_start[point["start"]].append(point["value"])
        means = [{"start": start, "value": statistics.mean(values)} for start, values in sorted(by_start.items())]
        told = found[0].tried
        wholes = [
            whole for one in siblings(sheet) if (whole := one.parent) and (one.name, one.how) == (told.parent, told.how)
        ]
        level = [100 * sheet.values(h)[at] for at, h in wholes[:1]] if of_accuracy else []

        marks, line, parent = Data(points), Data(means), Data([{"start": 0.0, "value": value} for value in level])
        y_span = span([*(point["value"] for point in points), *level])
        x = alt.X(
            "start:Q",
            title="share of the parent in the first weights (%)",
            scale=alt.Scale(domain=[-3, 103], nice=False),
            axis=alt.Axis(values=[0, 25, 50, 75, 100]),
        )
        y_title = "top-1 accuracy (%), higher is better"
        if not of_accuracy:
            y_title = f"distillation loss, {told.loss} (1), lower is better"
        y = alt.Y("value:Q", title=y_title, scale=y_span.scale)
        tooltip = ["run:N", "seed:N", "start:Q", alt.Tooltip("value:Q", title=self.quantity, format=".4g")]
        layers = [
            line.chart.mark_line(color=_COLOR, strokeWidth=1.8).encode(x=x, y=y, order="start:Q"),
            marks.chart.mark_point(filled=True, size=60, color=_COLOR, opacity=0.8).encode(x=x, y=y, tooltip=tooltip),
        ]
        if level:
            layers.append(parent.chart.mark_rule(color=FAINT, strokeDash=[5, 4]).encode(y=y))
            text = parent.chart.mark_text(align="left", dy=-7, fontSize=12, color=INK, text="parent")
            layers.append(text.encode(x=x, y=y))
        chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
        subtitle = [
            f"Layer {told.where} of {told.parent}, copied and taught by itself: alpha {told.alpha:g} of {told.loss}"
            f"{told.more}.",
            "A mark is a run, the line leads through their means.",
        ]
        return dressed(chart, self.title, subtitle, marks, line, parent)

    def _copies(self, sheet: Sheet) -> list[Run]:
        """The runs of the copied layers that began in most places; on images that were not held out, if there are
        such."""
        groups: dict[Tried, list[Run]] = defaultdict(list)
        for run in runs(sheet):
            if _place(run)[self.quantity] is not None:
                groups[replace(run.tried, start=0.0)].append(run)
        copies = [of for of in groups.values() if len({run.tried.start for run in of}) >= _FEWEST]
        found = max(copies, key=len, default=[])
        return [run for run in found if run.row.conditions.split != HELD_OUT] or found


def _place(run: Run) -> dict[str, Any]:
    assert run.row.value is not None, "runs have values"
    loss = run.row.origin.timing.get("distillation_loss")
    return {"start": 100 * run.tried.start, "top1": 100 * run.row.value, "distillation_loss": loss}
