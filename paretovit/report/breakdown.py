"""What a model's cost is made of, as tables for the terminal: by operator group and by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text

from paretovit.measurement import Measurement
from paretovit.report.headings import described
from paretovit.report.numbers import number, scale
from paretovit.report.tables import table

_UNITS = {"macs_share": "1", "bytes_moved_share": "B"}  # of what is counted: a share of time is all that is claimed
_HEADS = {"time_share": "time", "macs_share": "macs", "bytes_moved_share": "bytes moved"}


def breakdown_tables(rows: Sequence[Measurement]) -> Group:
    """For every model a table of its groups and one of its layers: shares of time, macs and bytes, and how much."""
    parts: list[object] = []
    for spec in dict.fromkeys(row.conditions.spec for row in rows):
        own = [row for row in rows if row.conditions.spec == spec]
        for kind in ("group", "layer"):
            found = [row for row in own if _kind(row) == kind]
            if found:
                parts += [_table(own[0].model, kind, found), Text()]
        parts += [*map(Text, _notes(own)), Text()]
    return Group(*parts[:-1])  # type: ignore[arg-type]  # tables and texts


def _kind(row: Measurement) -> str:
    return str(row.conditions.part).partition(" ")[0]


def _part(row: Measurement) -> str:
    return str(row.conditions.part).partition(" ")[2] or "(the model itself)"


def _table(model: str, kind: str, rows: Sequence[Measurement]) -> object:
    cells: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        if row.value is not None:
            cells.setdefault(_part(row), {})[row.indicator] = row
    scales = {
        name: scale(unit, [_amount(line[name]) for line in cells.values() if name in line])
        for name, unit in _UNITS.items()
    }
    heads = [f"{_HEADS['time_share']}\n%"]
    for name, unit in scales.items():
        heads += [f"{_HEADS[name]}\n%", f"\n{unit.unit}"]
    lines = []
    for part, line in cells.items():
        lines.append([part, _percent(line.get("time_share"))])
        for name, unit in scales.items():
            amount = number(_amount(line[name]) * unit.factor) if name in line else ""
            lines[-1] += [_percent(line.get(name)), amount]
    return table(lines, [kind, *heads], model)


def _amount(row: Measurement) -> float:
    """What the share is of the whole: in multiply-accumulates, in bytes."""
    assert row.value is not None
    return row.value * float(row.origin.timing["whole"])


def _percent(row: Measurement | None) -> str:
    return "" if row is None or row.value is None else f"{100 * row.value:.1f}"


def _notes(rows: Sequence[Measurement]) -> Iterator[str]:
    timed = [row for row in rows if row.indicator == "time_share"]
    told = [row for row in timed if row.value is not None]
    if timed:
        yield f"on {described(timed[0].conditions, ('device', 'runtime', 'dtype', 'batch_size', 'threads'))}"
    if told:
        timing = told[0].origin.timing
        spent, call = timing["operators_s"] * 1e3, timing["call_s"] * 1e3
        yield f"time inside operators, under the profiler: {number(spent)} ms; a call without it: {number(call)} ms"
        if timing["contended"]:
            yield "! taken while others used the machine: claims nothing"
    for row in rows:
        if row.value is None:
            yield f"– {_HEADS[row.indicator]} by {_kind(row)}: {row.why}"
