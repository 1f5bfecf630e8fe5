"""What a model's cost is made of, as tables for the terminal: by operator group and by layer, and of a training step by
phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text

from paretovit.cost.groups import GROUPS, OUTSIDE
from paretovit.measurement import Measurement
from paretovit.report.headings import described
from paretovit.report.numbers import number, scale
from paretovit.report.tables import table

# of what is counted: a share of time is all that is claimed
_UNITS = {"macs_share": "1", "bytes_moved_share": "B", "params_share": "1"}
_STEP = "train_time_share"
_HEADS = {
    "time_share": "time",
    "macs_share": "macs",
    "bytes_moved_share": "bytes moved",
    "params_share": "parameters",
    _STEP: "time",
}
_FACTS = ("device", "runtime", "dtype", "batch_size", "threads", "data", "recipe", "assumptions")


def breakdown_tables(rows: Sequence[Measurement]) -> Group:
    """For every model a table of its groups and one of its layers: shares of time, macs and bytes, and how much. Of a
    training step one of its groups within its phases, and one of its layers."""
    parts: list[object] = []
    for spec, of_step in dict.fromkeys((row.conditions.spec, row.indicator == _STEP) for row in rows):
        own = [row for row in rows if (row.conditions.spec, row.indicator == _STEP) == (spec, of_step)]
        for made in _step_tables(own) if of_step else _tables(own):
            parts += [made, Text()]
        parts += [*map(Text, _notes(own)), Text()]
    return Group(*parts[:-1])  # type: ignore[arg-type]  # tables and texts


def _tables(rows: Sequence[Measurement]) -> Iterator[object]:
    for kind in ("group", "layer"):
        found = [row for row in rows if _kind(row) == kind]
        if found:
            yield _table(rows[0].model, kind, found)


def _step_tables(rows: Sequence[Measurement]) -> Iterator[object]:
    """Groups by phases, and layers, in percent of what all of them add to; below the phases what they take."""
    known = [row for row in rows if row.value is not None]
    if not known:
        return
    layers = [row for row in known if _kind(row) == "layer"]
    step = [row for row in known if _kind(row) != "layer"]
    phases = list(dict.fromkeys(map(_kind, step)))
    columns = [*([row for row in step if _kind(row) == phase] for phase in phases), step]
    lines = []
    for group in (*GROUPS, OUTSIDE):
        cells = [[row for row in column if _part(row) == group] for column in columns]
        if any(cells):
            lines.append([group, *(f"{100 * _sum(cell) / _sum(step):.1f}" if cell else "" for cell in cells)])
    lines.append(["all", *(f"{100 * _sum(column) / _sum(step):.1f}" for column in columns)])
    step_ms = 1e3 * step[0].origin.timing["step_s"]
    lines.append(["all, ms", *(number(step_ms * _sum(column) / _sum(step)) for column in columns)])
    yield table(lines, ["%", *phases, "all"], f"{known[0].model}, a training step")
    yield table([[_part(row), f"{100 * _sum([row]) / _sum(layers):.1f}"] for row in layers], ["layer", "%"])


def _sum(rows: Sequence[Measurement]) -> float:
    return sum(row.value for row in rows if row.value is not None)


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
        if name != "params_share" or any(name in line for line in cells.values())
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
    timed = [row for row in rows if row.indicator in ("time_share", _STEP)]
    told = [row for row in timed if row.value is not None]
    if timed:
        yield f"on {described(timed[0].conditions, _FACTS)}"
    if told:
        timing = told[0].origin.timing
        what, whole = ("step", timing["step_s"]) if "step_s" in timing else ("call", timing["call_s"])
        spent, took = number(timing["operators_s"] * 1e3), number(whole * 1e3)
        yield f"time inside operators, under the profiler: {spent} ms; a {what} without it: {took} ms"
        if timing["contended"]:
            yield "! taken while others used the machine: claims nothing"
    for row in rows:
        if row.value is None:
            yield f"– {_HEADS[row.indicator]} by {_kind(row)}: {row.why}"
