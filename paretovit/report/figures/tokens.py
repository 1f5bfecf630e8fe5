"""A cost over the number of tokens: how each architecture grows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import altair as alt

from paretovit.report.figures import INK, Data, Figure, capital, dressed, family_encodings, records, span, spread
from paretovit.report.headings import Heading, Sheet, sheet_of, slug
from paretovit.report.series import Growth, grown_costs, growths, shared_size
from paretovit.store import Column, Table

WIDTH, HEIGHT = 760, 460
_LABEL_PX = 15
_NAMES = 0.36  # room for the names beside the lines, as a part of the lines' length
_LEADERS = 0.07  # of which for what leads from a line to its name
_FADED = 0.07  # opacity of the families that are not the one picked
_DASHES = [[1, 0], [7, 3], [2, 2], [9, 3, 2, 3]]  # tell apart the series of one family
_MOST = 8  # costs that have a figure
_NAMED = 40  # lines that have a name beside them
_AXIS = "patches of an image (tokens)"


class Tokens(Figure):
    """One line per architecture, both axes logarithmic: a slope of 1 is linear, one of 2 quadratic.

    A family picked in the legend stays and the others fade, and so do all but the line of the point under the pointer.
    The height follows from the number of names.

    Without `column`, the foremost cost that some architecture has at two numbers of tokens.
    """

    title = "How cost grows with the number of tokens"
    needs = "a cost of one architecture at two numbers of tokens"

    def __init__(self, column: Column | None = None) -> None:
        self.column = column

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        sheet = sheet_of(table)
        return {slug(sheet, h): cls(h.column) for h in grown_costs(sheet)[:_MOST]}

    def can_draw(self, table: Table) -> bool:
        return bool(self._drawable(sheet_of(table)))

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        heading = self._drawable(sheet)[0]
        found = growths(sheet, heading)
        points = _points(sheet, heading, found)
        counts = sorted({point["tokens"] for point in points})
        key = heading.key
        reach = [p[field] for p in points for field in (key, f"{key}_low", f"{key}_high") if p[field] is not None]
        y_span = span((value for value in reach if value > 0), log=True)
        ends = sorted(_ends(points, y_span.position, key), key=lambda end: end["height"])[:_NAMED]
        height = max(HEIGHT, (len(ends) + 1) * _LABEL_PX)
        reaching = counts[-1] / counts[0]
        for end, at in zip(ends, _within(spread([end["height"] for end in ends], _LABEL_PX / height)), strict=True):
            end.update(label_y=y_span.value(at), label_x=counts[-1] * reaching**_LEADERS)

        x = alt.X(
            "tokens:Q",
            title=_AXIS,
            scale=alt.Scale(
                type="log", base=2, nice=False,
                domain=[counts[0] / 1.15, counts[-1] * reaching**_NAMES],
            ),
            axis=alt.Axis(values=counts, format=",d", grid=False),
        )  # fmt: skip
        y = alt.Y(f"{key}:Q", title=heading.axis, scale=y_span.scale, axis=alt.Axis(tickCount=7, format="~r"))
        x_plain, y_plain = alt.X("tokens:Q", title=_AXIS), alt.Y(f"{key}:Q", title=heading.axis)
        colors = family_encodings(point["family"] for point in points)
        tooltip = [
            alt.Tooltip("model:N"),
            alt.Tooltip("family:N"),
            alt.Tooltip("tokens:Q", format=",d"),
            alt.Tooltip(f"{key}_text:N", title=heading.title),
        ]
        all_points, all_ends = Data(points), Data(ends)
        base, ended = all_points.chart, all_ends.chart
        dashes = list(range(len(_DASHES)))
        picked = alt.selection_point(name="picked", fields=["family"], bind="legend")
        under = alt.selection_point(name="under", fields=["series"], on="pointerover", clear="pointerout")

        def opacity(value: float) -> dict[str, Any]:
            return {"opacity": alt.when(picked & under).then(alt.value(value)).otherwise(alt.value(_FADED))}

        lines = base.mark_line().encode(
            x=x,
            y=y,
            color=colors["color"],
            strokeWidth=alt.when("datum.softmax").then(alt.value(4)).otherwise(alt.value(1.8)),
            **opacity(0.8),
            detail="series:N",
            strokeDash=alt.StrokeDash("dash:O", scale=alt.Scale(domain=dashes, range=_DASHES), legend=None),
        )
        bars = (
            base.transform_filter(f"datum.{key}_low > 0")
            .mark_rule(strokeWidth=1.6)
            .encode(
                x=x_plain,
                y=alt.Y(f"{key}_low:Q", title=heading.axis),
                y2=f"{key}_high:Q",
                color=colors["color"],
                **opacity(0.7),
            )
        )
        busy = f"datum.{key}_busy"
        marks = (
            base.transform_filter(f"!{busy}")
            .mark_point(filled=True, size=70)
            .encode(x=x_plain, y=y_plain, **colors, tooltip=tooltip, **opacity(1))
            .add_params(picked, under)
        )
        hollow = (
            base.transform_filter(busy)
            .mark_point(filled=False, size=70, strokeWidth=1.6, fill="white")
            .encode(x=x_plain, y=y_plain, **colors, tooltip=tooltip, **opacity(1))
        )
        leaders = ended.mark_rule(strokeWidth=0.9).encode(
            x=x_plain, y=y_plain, y2="label_y:Q", x2="label_x:Q", color=colors["color"], **opacity(0.6)
        )
        texts = ended.mark_text(align="left", dx=4, fontSize=12, color=INK).encode(
            x=alt.X("label_x:Q", title=_AXIS),
            y=alt.Y("label_y:Q", title=heading.axis),
            text="label:N",
            **opacity(1),
        )
        chart = alt.layer(lines, bars, leaders, marks, hollow, texts).properties(width=WIDTH, height=height)
        subtitle = [
            "Both axes are logarithmic. N is the number of tokens, its power the slope through the last three points."
        ]
        if len(ends) < len(found):
            subtitle.append(f"Named: the {len(ends)} that cost least of {len(found)} architectures.")
        if any(point.get(f"{key}_busy") for point in points):
            subtitle.append("Hollow: the machine was busy, the value claims nothing.")
        if any(point["softmax"] for point in points):
            subtitle.append("Thick: softmax attention as one operator, which the others are compared with.")
        return dressed(chart, f"{capital(heading.title)} over the number of tokens", subtitle, all_points, all_ends)

    def _drawable(self, sheet: Sheet) -> list[Heading]:
        return [h for h in grown_costs(sheet) if self.column in (None, h.column)]


def _points(sheet: Sheet, heading: Heading, found: tuple[Growth, ...]) -> list[dict[str, Any]]:
    """A record for every model of a series, with the cost's fields; see `records`."""
    lines = records(sheet, [heading])
    seen: Counter[str] = Counter()
    points = []
    compared = {growth.reference for growth in found}
    size = shared_size(found)
    for growth in found:
        series = growth.series
        dash = seen[series.family] % len(_DASHES)
        seen[series.family] += 1
        facts = {
            "series": series.name,
            "dash": dash,
            "label": f"{series.name.removesuffix(size)} ∝ N^{growth.power:.2f}",
            "softmax": series in compared,
        }
        points += [
            lines[at] | facts | {"tokens": tokens} for at, tokens in zip(growth.lines, growth.tokens, strict=True)
        ]
    return points


def _within(heights: list[float]) -> list[float]:
    """The heights moved together, so that none lies outside of 0 to 1 where there is room for all."""
    return [height + max(0.0, -min(heights)) - max(0.0, max(heights) - 1) for height in heights]


def _ends(points: list[dict[str, Any]], position: Any, key: str) -> list[dict[str, Any]]:
    """The last point of every series, where its name is written."""
    last = {point["series"]: point for point in points}
    fields = ("series", "family", "label", "tokens", key)
    return [{name: point[name] for name in fields} | {"height": position(point[key])} for point in last.values()]
