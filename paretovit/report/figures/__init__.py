"""Figures: one file each. A figure draws a table as an Altair chart, which gives interactive HTML, SVG and PNG.

A chart carries its data and its title, so that it can be read without the page around it.
"""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import altair as alt

from paretovit.folder import Folder
from paretovit.report.headings import Heading, Sheet
from paretovit.store import Table

FIGURES: Folder[Figure]

INK, FAINT, GRID = "#1a1a1a", "#6b6b6b", "#e6e6e6"

# Colour and shape together tell the families apart. The first eight colours are those of Okabe and Ito 2008,
# chosen to differ for colour-blind readers; where there are more families, shapes differ among like hues.
FAMILIES = {
    "baseline": ("#000000", "circle"),
    "low-rank attention": ("#0072b2", "square"),
    "sparse attention": ("#e69f00", "diamond"),
    "fixed attention": ("#009e73", "triangle-up"),
    "kernel attention": ("#d55e00", "triangle-down"),
    "hybrid attention": ("#cc79a7", "cross"),
    "non-attention shuffling": ("#56b4e9", "circle"),
    "token removal": ("#882255", "square"),
    "token merging": ("#44aa99", "diamond"),
    "summary tokens": ("#999933", "triangle-up"),
    "specialized parameters": ("#666666", "triangle-down"),
    "unknown": ("#999999", "cross"),
}


class Figure(ABC):
    """A drawing of a table.

    title   what it shows, in a few words
    needs   what the table must have, in words that complete "draws nothing without ..."

    `can_draw` says whether a table has it; `draw` may then be called.
    """

    title: ClassVar[str]
    needs: ClassVar[str]

    @classmethod
    def variants(cls, table: Table) -> dict[str, Figure]:
        """What the report draws of this figure, by what tells the files apart; the one without options, by default."""
        return {"": cls()}

    @abstractmethod
    def can_draw(self, table: Table) -> bool: ...

    @abstractmethod
    def draw(self, table: Table) -> alt.LayerChart: ...


FIGURES = Folder("paretovit.report.figures", "figure")


def family_encodings(families: Iterable[str]) -> dict[str, Any]:
    """Colour and shape by the field `family`, with one legend for both; only families that occur are listed."""
    found = set(families)
    present = [name for name in FAMILIES if name in found]
    legend = alt.Legend(title="family", orient="bottom", symbolSize=110, symbolOpacity=1)
    return {
        "color": alt.Color(
            "family:N", scale=alt.Scale(domain=present, range=[FAMILIES[f][0] for f in present]), legend=legend
        ),
        "shape": alt.Shape(
            "family:N", scale=alt.Scale(domain=present, range=[FAMILIES[f][1] for f in present]), legend=legend
        ),
    }


def records(sheet: Sheet, headings: Iterable[Heading]) -> list[dict[str, Any]]:
    """One record per line: `model`, `family`, and for each heading with key `c0` the fields `c0`, `c0_low`,
    `c0_high` in the heading's scale (None where unknown), `c0_text` for people and `c0_busy` where the value was
    taken while others used the machine."""
    lines: list[dict[str, Any]] = [
        {"model": label, "family": family} for label, family in zip(sheet.labels, sheet.families, strict=True)
    ]
    for h in headings:
        for line, row, (low, high) in zip(lines, sheet.rows(h), sheet.intervals(h), strict=True):
            if row is None or row.value is None:
                continue
            known = math.isfinite(low) and math.isfinite(high)
            line[h.key] = _short(row.value * h.scale.factor)
            line[f"{h.key}_low"] = _short(low * h.scale.factor) if known else None
            line[f"{h.key}_high"] = _short(high * h.scale.factor) if known else None
            line[f"{h.key}_text"] = f"{h.scale.around(row.value, low, high)} {h.scale.unit}"
            if row.origin.timing.get("contended"):
                line[f"{h.key}_busy"] = True
                line[f"{h.key}_text"] += " (machine was busy: claims nothing)"
    return lines


def accuracy_record(sheet: Sheet, heading: Heading, at: int) -> dict[str, Any]:
    """A line's `name`, its accuracy `top1` in percent with `low` and `high` (None where unknown), and `text` for
    people."""
    value, (low, high) = sheet.values(heading)[at], sheet.intervals(heading)[at]
    known = math.isfinite(low) and math.isfinite(high)
    return {
        "name": sheet.labels[at],
        "top1": 100 * value,
        "low": 100 * low if known else None,
        "high": 100 * high if known else None,
        "text": f"{heading.scale.around(value, low, high)} {heading.scale.unit}",
    }


@dataclass(frozen=True)
class Span:
    """What an axis covers. Positions run from 0 to 1 along it."""

    low: float
    high: float
    log: bool

    def position(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def value(self, position: float) -> float:
        if self.log:
            return self.low * (self.high / self.low) ** position
        return self.low + (self.high - self.low) * position

    @property
    def scale(self) -> alt.Scale:
        if self.log:
            return alt.Scale(type="log", domain=[self.low, self.high], nice=False)
        return alt.Scale(domain=[self.low, self.high], nice=False, zero=False)


def span(values: Iterable[float], *, before: float = 0.05, after: float = 0.05, log: bool = False) -> Span:
    """An axis for these values, with some of its length left empty before and after them.

    Logarithmic where positive values cover a decade, or where asked for, which needs positive values.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    if low == high:
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    tight = Span(low, high, log=log or (low > 0 and high >= 10 * low))
    room = 1 - before - after
    return Span(tight.value(-before / room), tight.value(1 + after / room), tight.log)


class Data:
    """Records under a name made from their content, so that charts with equal data share them on a page.

    A chart refers to them by name; `dressed` adds them to the finished chart, for Altair copies what is inside a
    chart at every step.
    """

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self.records = list(records)
        self.name = hashlib.sha256(json.dumps(self.records, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def chart(self) -> alt.Chart:
        return alt.Chart(alt.NamedData(name=self.name))


@lru_cache(maxsize=2)
def all_models(sheet: Sheet) -> Data:
    """Every line with all qualities and costs: made once for the many charts that show two of them."""
    return Data(records(sheet, (*sheet.qualities, *sheet.costs)))


def dressed(chart: alt.LayerChart, title: str, subtitle: list[str], *data: Data) -> alt.LayerChart:
    """The chart with its data, its title and the look that all figures share."""
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start", frame="group")
    done = (
        chart.properties(title=heading, background="white", padding=8)
        .configure(font="system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, titleColor=INK, titleFontWeight="normal", titleFontSize=13, labelFontSize=12,
            gridColor=GRID, domainColor=FAINT, tickColor=FAINT, titlePadding=10,
        )
        .configure_title(color=INK, fontSize=15, subtitleColor=FAINT, subtitleFontSize=12, offset=14)
        .configure_legend(labelColor=INK, titleColor=INK, labelFontSize=12, titleFontSize=12, labelLimit=240, columns=4)
    )  # fmt: skip
    done.datasets = {one.name: one.records for one in data}
    return done


def spread(positions: list[float], gap: float) -> list[float]:
    """The positions moved apart to at least `gap`, each as little as need be, in the order they have."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    groups: list[tuple[list[int], float]] = []  # members, and the sum of where their first one would like to be
    for at in order:
        members, wish = [at], positions[at]
        while groups:
            before, before_wish = groups[-1]
            start, previous = wish / len(members), before_wish / len(before)
            if start >= previous + gap * len(before):
                break
            wish = before_wish + wish - gap * len(before) * len(members)
            members = before + members
            groups.pop()
        groups.append((members, wish))
    placed = list(positions)
    for members, wish in groups:
        for step, at in enumerate(members):
            placed[at] = wish / len(members) + gap * step
    return placed


_LETTERS = 72  # of a label that stand beside a figure in one line

# the axis of labels that `in_lines` made
LINES: dict[str, Any] = {"labelExpr": "split(datum.label, '\\n')", "labelLimit": 480, "labelLineHeight": 12}


def in_lines(label: str) -> str:
    """A label for an axis of words: in several lines where it is long, for what is cut off may be what tells it from
    another."""
    return "\n".join(textwrap.wrap(label, _LETTERS, break_on_hyphens=False)) or label


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(value: float) -> float:
    return float(f"{value:.6g}")
