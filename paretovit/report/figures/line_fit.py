"""A measured cost over multiply-accumulates, with the straight line that would estimate it."""

from __future__ import annotations

import math

import altair as alt

from paretovit.analysis.fit import Line, fit_line
from paretovit.report.figures import INK, Data, Figure, capital, dressed, family_encodings, records, span
from paretovit.report.headings import Heading, Sheet, sheet_of, slug
from paretovit.report.numbers import number
from paretovit.store import Column, Table

WIDTH, HEIGHT = 760, 430
_ESTIMATED = ("peak_bytes_train", "peak_bytes_infer", "latency_s")


class LineFit(Figure):
    """Every model by its multiply-accumulates and what it really takes; the least-squares line, and how far it is off.

    After Nauen et al. 2023, "Which Transformer to Favor", who estimate VRAM = a GFLOPs + b; a multiply-accumulate is
    two of these. The line errs as little as one can on the very models that it was fitted to. Without `column`, the
    first of peak memory of training, of inference, and latency that three models have.
    """

    title = "How far multiply-accumulates foretell a cost"
    needs = "macs, and peak memory or latency, of three models that differ in macs"

    def __init__(self, column: Column | None = None) -> None:
        self.column = column

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        sheet = sheet_of(table)
        return {slug(sheet, h): cls(h.column) for h in _estimated(sheet) if _line(sheet, h) is not None}

    def can_draw(self, table: Table) -> bool:
        return self._drawn(sheet_of(table)) is not None

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        drawn = self._drawn(sheet)
        assert drawn is not None, "asked for what cannot be drawn"
        y, line = drawn
        x = _macs(sheet)
        assert x is not None, "a line has macs"
        lines = records(sheet, (x, y))
        both = [at for at, one in enumerate(lines) if x.key in one and y.key in one]
        across = span([lines[at][x.key] for at in both])
        # down to 0, where the line's offset shows
        low, high = min(0.0, across.low), across.high
        slope, offset = line.slope * y.scale.factor / x.scale.factor, line.offset * y.scale.factor
        ends = [{x.key: end, y.key: slope * end + offset} for end in (low, high)]
        up = span([*(lines[at][y.key] for at in both), *(end[y.key] for end in ends)])

        models, line_ends = Data(lines), Data(ends)
        points = models.chart.transform_filter(f"isValid(datum.{x.key}) && isValid(datum.{y.key})")
        x_axis = alt.X(f"{x.key}:Q", title=x.axis, scale=alt.Scale(domain=[low, high], nice=False))
        y_axis = alt.Y(f"{y.key}:Q", title=y.axis, scale=alt.Scale(domain=[min(0.0, up.low), up.high], nice=False))
        marks = points.mark_point(size=110, filled=True, opacity=0.9).encode(
            x=x_axis,
            y=y_axis,
            **family_encodings(sheet.families[at] for at in both),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("family:N"),
                alt.Tooltip(f"{x.key}_text:N", title=x.title),
                alt.Tooltip(f"{y.key}_text:N", title=y.title),
            ],
        )
        fitted = line_ends.chart.mark_line(color=INK, strokeWidth=1.4, strokeDash=[6, 3], clip=True).encode(
            x=x_axis, y=y_axis
        )
        said = [
            f"{y.title} = {number(slope / 2)} {y.scale.unit} per {_flops(x)} {_signed(offset)} {y.scale.unit}, "
            f"by least squares over {line.n} models; R² {line.r_squared:.2f}.",
            f"The line is {line.median_error:.0%} off in the median and {line.largest_error:.0%} at worst, on the very "
            "models that it was fitted to.",
        ]
        chart = alt.layer(fitted, marks).properties(width=WIDTH, height=HEIGHT)
        return dressed(chart, f"{capital(y.title)} as a line in multiply-accumulates", said, models, line_ends)

    def _drawn(self, sheet: Sheet) -> tuple[Heading, Line] | None:
        for heading in _estimated(sheet):
            if self.column in (None, heading.column) and (line := _line(sheet, heading)) is not None:
                return heading, line
        return None


def _estimated(sheet: Sheet) -> list[Heading]:
    return [h for name in _ESTIMATED for h in sheet.costs if h.column.indicator == name]


def _macs(sheet: Sheet) -> Heading | None:
    """The column of macs that most models have: counted here, or printed by others."""
    found = [h for h in sheet.costs if h.column.indicator == "macs"]
    return max(found, key=lambda h: sum(map(math.isfinite, sheet.values(h))), default=None)


def _line(sheet: Sheet, heading: Heading) -> Line | None:
    x = _macs(sheet)
    return None if x is None else fit_line(sheet.values(x), sheet.values(heading))


def _flops(macs: Heading) -> str:
    """What one operation is called on the scale of a column of macs."""
    return {"billions": "GFLOP", "millions": "MFLOP", "thousands": "kFLOP"}.get(macs.scale.unit, "FLOP")


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {number(abs(value))}"
