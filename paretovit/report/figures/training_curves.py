"""How a quality grows with what training has cost so far."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import altair as alt

from paretovit.measurement import Measurement
from paretovit.report.figures import INK, Data, Figure, Span, capital, dressed, family_encodings, span, spread
from paretovit.report.headings import Heading, Sheet, sheet_of, shortened, slug
from paretovit.report.numbers import Scale, scale
from paretovit.store import Table
from paretovit.training.replacing import without_hashes
from paretovit.training.rows import QUALITIES

WIDTH, HEIGHT = 760, 460
_LABEL_PX = 14
_COSTS = ("images_seen", "train_time_s")


class TrainingCurves(Figure):
    """A line per training run: the quality after each epoch over the images or the seconds that it took to get there.

    After Dehghani et al. 2022, "The Efficiency Misnomer", figs. 2 and 3: which model is ahead may depend on how much is
    spent on training, and end points do not show it. Runs of one model from several seeds are lines of one colour.

    Without `quality` and `cost`, the table's foremost quality that has curves, over the images trained on.
    """

    title = "Quality while training"
    needs = "a quality with its curve over the epochs and what each had cost"

    def __init__(self, quality: Heading | None = None, cost: str = _COSTS[0]) -> None:
        self.quality, self.cost = quality, cost

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        sheet = sheet_of(table)
        qualities = [h for h in _curved(sheet) if _lines(sheet, h, _COSTS[0])]
        return {f"{slug(sheet, h)}-{cost}": cls(h, cost) for h in qualities for cost in _COSTS}

    def can_draw(self, table: Table) -> bool:
        sheet = sheet_of(table)
        return any(_lines(sheet, h, self.cost) for h in self._qualities(sheet))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        quality = next(h for h in self._qualities(sheet) if _lines(sheet, h, self.cost))
        lines = _lines(sheet, quality, self.cost)
        title, unit, _ = QUALITIES[self.cost]
        spending = Scale(1.0, "images") if unit == "1" else scale(unit, [line["cost"] for line in lines])
        for line in lines:
            line["cost"] *= spending.factor
            line["quality"] *= quality.scale.factor
        x_span = span([line["cost"] for line in lines], before=0.03, after=0.2)
        y_span = span([line["quality"] for line in lines])
        ends = _ends(lines, y_span)
        x = alt.X(
            "cost:Q", title=f"{title} ({spending.unit})", scale=x_span.scale, axis=alt.Axis(tickCount=7, format="~s")
        )
        y = alt.Y("quality:Q", title=quality.axis, scale=y_span.scale, axis=alt.Axis(tickCount=7))
        curves, names = Data(lines), Data(ends)
        look = family_encodings(line["family"] for line in lines)
        tooltip = [
            "model:N",
            "family:N",
            "seed:N",
            "epoch:Q",
            alt.Tooltip("quality:Q", title=quality.title, format=".2f"),
        ]
        drawn = curves.chart.mark_line(opacity=0.8, strokeWidth=1.6).encode(
            x=x, y=y, detail="run:N", order="epoch:Q", color=look["color"]
        )
        marks = curves.chart.mark_point(filled=True, size=26).encode(x=x, y=y, **look, tooltip=tooltip)
        labels = names.chart.mark_text(align="left", dx=6, fontSize=11, color=INK).encode(
            x=x, y=alt.Y("height:Q", title=quality.axis), text="label:N"
        )
        chart = alt.layer(drawn, marks, labels).properties(width=WIDTH, height=HEIGHT)
        return dressed(
            chart,
            f"{capital(quality.name)} while training, over {title}",
            ["A line is a run, a mark an epoch. Where lines cross, which is better depends on what training may cost."],
            curves,
            names,
        )

    def _qualities(self, sheet: Sheet) -> Sequence[Heading]:
        return _curved(sheet) if self.quality is None else [self.quality]


def _ends(lines: list[dict[str, Any]], y_span: Span) -> list[dict[str, Any]]:
    """Where models' names stand: behind their last epochs, at the mean of their runs, moved so as not to overlap."""
    last = {line["run"]: line for line in sorted(lines, key=lambda line: line["epoch"])}
    of_model: dict[str, list[dict[str, Any]]] = {}
    for line in last.values():
        of_model.setdefault(line["model"], []).append(line)
    means = [statistics.mean(line["quality"] for line in runs) for runs in of_model.values()]
    heights = spread([y_span.position(mean) for mean in means], _LABEL_PX / HEIGHT)
    return [
        {"label": label, "cost": max(line["cost"] for line in runs), "height": y_span.value(height)}
        for label, runs, height in zip(shortened(list(of_model)), of_model.values(), heights, strict=True)
    ]


def _curved(sheet: Sheet) -> list[Heading]:
    return [h for h in sheet.headings if h.column.indicator in QUALITIES and not QUALITIES[h.column.indicator][2]]


def _lines(sheet: Sheet, quality: Heading, cost: str) -> list[dict[str, Any]]:
    """A record per run and epoch, costs and qualities in the store's units."""
    found = []
    for at, rows in enumerate(_each_seed(sheet, quality)):
        for row in rows:
            facts = row.origin.timing
            spent = facts.get("spent", {}).get(cost)
            if spent is None or "curve" not in facts:  # of several seeds as one, what all have alike is left
                continue
            for (epoch, value), so_far in zip(facts["curve"], spent, strict=True):
                found.append(
                    {
                        "model": sheet.labels[at],
                        "family": sheet.families[at],
                        "run": f"{sheet.labels[at]}, seed {row.conditions.seed}",
                        "seed": row.conditions.seed,
                        "epoch": epoch,
                        "cost": so_far,
                        "quality": value,
                    }
                )
    return found


def _each_seed(sheet: Sheet, quality: Heading) -> list[list[Measurement]]:
    """Per line of the sheet the rows of the raw table that its column is made of: one for each seed."""
    raw = sheet.raw
    wanted = quality.column.conditions
    columns = [
        at
        for at, column in enumerate(raw.columns)
        if column.indicator == quality.column.indicator
        and all(
            getattr(column.conditions, name) == getattr(wanted, name)
            for name in ("data", "split", "source", "assumptions")
        )
        and wanted.recipe in (column.conditions.recipe, without_hashes(column.conditions.recipe or ""))
    ]
    by_key = {line.key: cells for line, cells in zip(raw.lines, raw.cells, strict=True)}
    return [[row for at in columns if (row := by_key[line.key][at]) is not None] for line in sheet.table.lines]
