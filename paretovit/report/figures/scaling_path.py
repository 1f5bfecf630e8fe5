"""A quality over a cost of one architecture at many sizes, with what grew along the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import altair as alt

from paretovit.analysis.pareto import front
from paretovit.errors import UserError
from paretovit.report.figures import FAINT, INK, Data, Figure, capital, dressed, span, spread
from paretovit.report.headings import Heading, Sheet, sheet_of
from paretovit.report.numbers import scale
from paretovit.spec import ModelSpec
from paretovit.store import Table
from paretovit.zoo.factors import TITLES, Factors, factors_of, with_factors

WIDTH, HEIGHT = 760, 430
_LABEL_PX = 15
_FEWEST = 3  # sizes of an architecture that make a path
_KEPT, _OTHER = "#d55e00", "#0072b2"


class ScalingPath(Figure):
    """The models of one architecture that differ in the six factors of `zoo/factors.py` alone, by the table's foremost
    quality and cost; those that no other one beats in both are joined, and named by what changed from one to the next.

    After Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", figs. 5 and 6. Of several
    architectures the one that has most sizes. The steps that a search took are drawn by `draw_path`.
    """

    title = "Sizes of one architecture, and what grew along the front"
    needs = "a quality and a cost of three sizes of one architecture"

    def can_draw(self, table: Table) -> bool:
        sheet = sheet_of(table)
        return bool(sheet.qualities and sheet.costs) and len(_largest(sheet)) >= _FEWEST

    def draw(self, table: Table) -> alt.LayerChart:
        sheet = sheet_of(table)
        x, y, chosen = sheet.costs[0], sheet.qualities[0], _largest(sheet)
        sign = 1 if x.lower_is_better else -1
        best = front([sign * sheet.values(x)[at] for at in chosen], [sheet.values(y)[at] for at in chosen])
        points = []
        for at, optimal in zip(chosen, best, strict=True):
            spec = sheet.table.lines[at].spec
            assert spec is not None, "what has factors has a spec"
            low, high = sheet.intervals(y)[at]
            points.append(
                _point(
                    sheet.labels[at],
                    factors_of(spec),
                    sheet.values(x)[at] * x.scale.factor,
                    sheet.values(y)[at] * y.scale.factor,
                    (low * y.scale.factor, high * y.scale.factor),
                    kept=bool(optimal),
                )
            )
        points.sort(key=lambda point: sign * point["cost"])
        kept = _labelled([point for point in points if point["kept"]])
        subtitle = (
            f"Joined: no other of the {len(points)} sizes is as good in both. Labels: what changed from the last."
        )
        return _drawn(points, kept, (x.axis, y.axis), f"{capital(y.title)} over {x.title}, as sizes grow", subtitle)


def draw_path(path: dict[str, Any]) -> alt.LayerChart:
    """The steps of a search (`SearchPath.to_json` of `optimize/scale.py`): every candidate that was trained, and those
    kept joined in the order of the steps. Raises `UserError` for a path without a model."""
    about = path["search"]
    points: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for step in path["steps"]:
        for one in step["candidates"]:
            if one["top1"] is None or one["cost"] is None:
                continue
            top1, error = 100 * one["top1"], 100 * one["standard_error"]
            is_kept = one["key"] == step["kept"]
            point = _point(
                one["model"], Factors(**one["factors"]), one["cost"], top1, (top1 - error, top1 + error), kept=is_kept
            )
            points.append(point)
            if is_kept and (not kept or kept[-1]["name"] != point["name"]):
                kept.append(point)
    if not points:
        raise UserError("a path without trained models cannot be drawn; let the search come to its first step")
    unit = scale(about["unit"], [point["cost"] for point in points])
    for point in points:
        point["cost"] *= unit.factor
    axes = f"{about['cost']} ({unit.unit})", "top-1 accuracy (%)"
    judged = f"{about['data']}, recipe {about['recipe']['name']}"
    subtitle = f"{judged}. Joined: the model that each step kept, and what it changed."
    return _drawn(points, _labelled(kept), axes, f"{about['start']['name']} scaled by {about['cost']}", subtitle)


def _largest(sheet: Sheet) -> list[int]:
    """The lines of the architecture that has most sizes with both values."""
    x, y = sheet.costs[0], sheet.qualities[0]
    groups: dict[ModelSpec, list[int]] = {}
    for at, spec in _with_both(sheet, x, y):
        try:
            plain = with_factors(spec, Factors(1, 1, 1, 1, 1, 1))
        except UserError:
            continue
        groups.setdefault(replace(plain, name=""), []).append(at)
    return max(groups.values(), key=len, default=[])


def _with_both(sheet: Sheet, x: Heading, y: Heading) -> Iterator[tuple[int, ModelSpec]]:
    for at, line in enumerate(sheet.table.lines):
        if line.spec is not None and math.isfinite(sheet.values(x)[at]) and math.isfinite(sheet.values(y)[at]):
            yield at, line.spec


def _point(
    name: str, factors: Factors, cost: float, quality: float, interval: tuple[float, float], *, kept: bool
) -> dict[str, Any]:
    known = all(map(math.isfinite, interval))
    return {
        "name": name,
        **factors._asdict(),
        "cost": cost,
        "quality": quality,
        "low": interval[0] if known else None,
        "high": interval[1] if known else None,
        "kept": kept,
    }


def _labelled(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each with its place on the path, and with what changed since the one before: "d 6 → 12"."""
    made: list[dict[str, Any]] = []
    for at, point in enumerate(kept):
        changed = [
            f"{letter} {made[-1][name]} → {point[name]}"
            for name, (_, letter) in TITLES.items()
            if made and made[-1][name] != point[name]
        ]
        first = " ".join(f"{letter}{point[name]}" for name, (_, letter) in TITLES.items())
        made.append(point | {"at": at, "label": ", ".join(changed) or first})
    return made


def _drawn(
    points: Sequence[dict[str, Any]], kept: list[dict[str, Any]], axes: tuple[str, str], title: str, subtitle: str
) -> alt.LayerChart:
    x_span = span([point["cost"] for point in points], before=0.04, after=0.22, log=all(p["cost"] > 0 for p in points))
    reach = [point[end] for point in points for end in ("quality", "low", "high") if point[end] is not None]
    y_span = span(reach, after=0.08)
    heights = spread([y_span.position(point["quality"]) for point in kept[1:]], _LABEL_PX / HEIGHT)
    for before, point, height in zip(kept, kept[1:], heights, strict=False):
        point["label_y"] = y_span.value(height)
        point["rises"] = point["quality"] >= before["quality"]
    candidates, path = Data(points), Data(kept)
    x = alt.X("cost:Q", title=axes[0], scale=x_span.scale, axis=alt.Axis(tickCount=7, format="~r"))
    y = alt.Y("quality:Q", title=axes[1], scale=y_span.scale, axis=alt.Axis(tickCount=7))
    tooltip = ["name:N", *(alt.Tooltip(f"{field}:Q", title=words) for field, (words, _) in TITLES.items())]
    bars = candidates.chart.mark_rule(color=FAINT, opacity=0.4).encode(
        x=x, y=alt.Y("low:Q", title=axes[1]), y2="high:Q"
    )
    marks = candidates.chart.mark_point(filled=True, size=70, opacity=0.9).encode(
        x=x,
        y=y,
        color=alt.condition("datum.kept", alt.value(_KEPT), alt.value(_OTHER)),
        tooltip=[*tooltip, alt.Tooltip("cost:Q", title=axes[0]), alt.Tooltip("quality:Q", title=axes[1])],
    )
    line = path.chart.mark_line(color=_KEPT, strokeWidth=1.8).encode(x=x, y=y, order="at:Q")
    # above its point, on the side that the line does not come from
    changes = [
        path.chart.transform_filter(f"datum.at > 0 && {kind}datum.rises")
        .mark_text(align=align, dx=dx, dy=-11, fontSize=12, color=INK)
        .encode(x=x, y=alt.Y("label_y:Q", title=axes[1]), text="label:N")
        for kind, align, dx in (("", "right", -5), ("!", "left", 5))
    ]
    # below its point where the line leaves it upwards
    falls = len(kept) > 1 and kept[1]["quality"] < kept[0]["quality"]
    first = (
        path.chart.transform_filter("datum.at == 0")
        .mark_text(align="left", dx=9, dy=-11 if falls else 15, fontSize=12, color=INK)
        .encode(x=x, y=y, text="label:N")
    )
    words = ", ".join(f"{letter} {words}" for words, letter in TITLES.values())
    chart = alt.layer(bars, line, marks, *changes, first).properties(width=WIDTH, height=HEIGHT)
    return dressed(chart, title, [subtitle, f"Bars: where a value may lie. Letters: {words}."], candidates, path)
