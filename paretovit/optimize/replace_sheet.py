"""Replaced models beside their parent, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from paretovit.measurement import Measurement
from paretovit.optimize.replace import Replaced
from paretovit.optimize.roofline_sheet import RooflineSheet
from paretovit.spec import ModelSpec

# indicator, heading, how its values are written
_COLUMNS: tuple[tuple[str, str, float, str], ...] = (
    ("top1", "top-1\n%", 100, ".2f"),
    ("params", "parameters\nM", 1e-6, ".3f"),
    ("macs", "macs\nM", 1e-6, ".2f"),
    ("latency_s", "latency\nms", 1e3, ".3f"),
)


def replace_sheet(done: Sequence[Replaced], timed: Iterable[Measurement] = ()) -> RooflineSheet:
    """A line for the parent, and for each of the new models that were made of it one, and one for what is left of each
    indicator; `timed` are rows of the latency of all of them, if it was measured."""
    old, new = done[0].replacement.whole, [one.replacement.spec for one in done]
    timed = [row for row in timed if row.conditions.spec in (old.key, *(spec.key for spec in new))]
    rows = [*done[0].parent_rows, *(row for one in done for row in (*one.rows, *one.counts)), *timed]
    values = {
        spec.key: {row.indicator: row.value for row in rows if row.conditions.spec == spec.key} for spec in (old, *new)
    }
    shown = [column for column in _COLUMNS if any(column[0] in known for known in values.values())]
    lines = [_line(old, values[old.key], shown)]
    for spec in new:
        lines.append(_line(spec, values[spec.key], shown))
        shares = [_share(values[old.key].get(name), values[spec.key].get(name), name) for name, *_ in shown]
        lines.append(["new / parent", *shares])
    title = f"{new[0].name if len(new) == 1 else old.name}: what took the place, beside the parent"
    notes = [
        f"{one.folder}: a checkpoint like any other. Distillation loss on the images judged: {one.distance:.4g}."
        for one in done
    ]
    if any(row.origin.timing.get("contended") for row in timed):
        notes[-1] += " Others used the machine while latency was measured, so it tells nothing: measure again."
    text = "\n".join(textwrap.fill(note, 100) for note in notes)
    return RooflineSheet(title, ["model", *(heading for _, heading, *_ in shown)], lines, text)


def _line(
    spec: ModelSpec, known: Mapping[str, float | None], shown: Sequence[tuple[str, str, float, str]]
) -> list[str]:
    return [spec.name, *(_number(known.get(name), scale, form) for name, _, scale, form in shown)]


def _number(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(scale * value, form)


def _share(old: float | None, new: float | None, name: str) -> str:
    """The new value as a share of the old; of an accuracy, the difference in points."""
    if old is None or new is None:
        return ""
    return f"{100 * (new - old):+.2f}" if name == "top1" else f"{new / old:.3f}" if old else ""
