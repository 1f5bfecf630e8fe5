"""A replaced model beside its parent, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from paretovit.measurement import Measurement
from paretovit.optimize.replace import Replaced
from paretovit.optimize.roofline_sheet import RooflineSheet

# indicator, heading, how its values are written
_COLUMNS: tuple[tuple[str, str, float, str], ...] = (
    ("top1", "top-1\n%", 100, ".2f"),
    ("params", "parameters\nM", 1e-6, ".3f"),
    ("macs", "macs\nM", 1e-6, ".2f"),
    ("latency_s", "latency\nms", 1e3, ".3f"),
)


def replace_sheet(done: Replaced, timed: Iterable[Measurement] = ()) -> RooflineSheet:
    """A line for the parent, one for the new model and one for what is left of each indicator; `timed` are rows of the
    latency of both, if it was measured."""
    old, new = done.replacement.whole, done.replacement.spec
    timed = [row for row in timed if row.conditions.spec in (old.key, new.key)]
    rows = [*done.parent_rows, *done.rows, *done.counts, *timed]
    values = {
        key: {row.indicator: row.value for row in rows if row.conditions.spec == key} for key in (old.key, new.key)
    }
    shown = [column for column in _COLUMNS if any(column[0] in known for known in values.values())]
    lines = [
        [spec.name, *(_number(values[spec.key].get(name), scale, form) for name, _, scale, form in shown)]
        for spec in (old, new)
    ]
    shares = [_share(values[old.key].get(name), values[new.key].get(name), name) for name, *_ in shown]
    lines.append(["new / parent", *shares])
    title = f"{done.replacement.spec.name}: what took the place, beside the parent"
    note = f"{done.folder}: a checkpoint like any other. Distillation loss on the images judged: {done.distance:.4g}."
    if any(row.origin.timing.get("contended") for row in timed):
        note += " Others used the machine while latency was measured, so it tells nothing: measure again."
    return RooflineSheet(title, ["model", *(heading for _, heading, *_ in shown)], lines, textwrap.fill(note, 100))


def _number(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(scale * value, form)


def _share(old: float | None, new: float | None, name: str) -> str:
    """The new value as a share of the old; of an accuracy, the difference in points."""
    if old is None or new is None:
        return ""
    return f"{100 * (new - old):+.2f}" if name == "top1" else f"{new / old:.3f}" if old else ""
