"""What a model's cost is made of: shares of time, multiply-accumulates and bytes by operator group and by layer.

Time is measured, operator by operator, where the runtime can tell; the other two are counted on tensors without
storage. A part is named in a row's conditions: "group norm", "layer blocks.3.attn".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from paretovit.cost.counting import count_module
from paretovit.cost.groups import GROUPS, Op, group_of, layer_of
from paretovit.cost.measure import BUSY, check
from paretovit.cost.on_meta import no_collection, values_are_asked_for
from paretovit.cost.prepare import prepare
from paretovit.cost.products import calling
from paretovit.cost.rules import Call, Work, operator_name
from paretovit.cost.runtimes import Session
from paretovit.cost.subject import Calibration, Setting
from paretovit.devices import Busy, check_device, device_name, num_threads, origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement, median
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

SHARES = {"time_share": "time", "macs_share": "multiply-accumulates", "bytes_moved_share": "bytes moved"}


def profile(
    models: Sequence[str | ModelSpec],
    *,
    runtime: str = "torch_eager",
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    batch_size: int = 1,
    calls: int = 11,
    store: Store | None = None,
    calibration: Calibration | None = None,
) -> list[Measurement]:
    """Rows of `time_share`, `macs_share` and `bytes_moved_share` for every part of the models.

    The value of a time share is the median over `calls`, so a group's shares add to about 1; `origin.timing` has the
    seconds that all operators took (`operators_s`) and those of a call without the profiler (`call_s`, with what
    Python takes). Counted shares are of one image. What a runtime cannot tell is a row with a reason. Raises
    `UserError` for unknown names, and for runtimes and devices that are not here.
    """
    if calls < 1:
        raise UserError(f"calls must be at least 1, got {calls}")
    threads = num_threads() if threads is None else threads
    specs = [resolve(model) if isinstance(model, str) else model for model in models]
    setting = Setting(
        runtime=runtime, device=check_device(device), dtype=dtype, threads=threads, batch_size=batch_size,
        calibration=calibration,
    )  # fmt: skip
    check(specs, [runtime], setting)
    made: list[Measurement] = []
    for spec in specs:
        conditions = Conditions(
            spec=spec.key, device=device_name(device), runtime=runtime, dtype=dtype, batch_size=batch_size,
            threads=threads, assumptions=setting.calibrated,
        )  # fmt: skip
        rows = [*_timed(spec, conditions, device, calls, calibration), *_counted(spec)]
        if store is not None:
            store.append(rows, [spec])
        made += rows
    return made


def _timed(
    spec: ModelSpec, conditions: Conditions, device: str, calls: int, calibration: Calibration | None
) -> list[Measurement]:
    assert isinstance(conditions.batch_size, int) and conditions.runtime and conditions.dtype  # noqa: PT018
    try:
        session = prepare(
            spec, runtime=conditions.runtime, device=device, dtype=conditions.dtype, threads=conditions.threads,
            batch_size=conditions.batch_size, calibration=calibration,
        )  # fmt: skip
        for _ in range(2):  # to warm up, and to compile
            session()
            session.profile()
        call_s = median([_call_s(session) for _ in range(3)])
        busy, start = Busy(), time.perf_counter()
        traces = [session.profile() for _ in range(calls)]
        share = busy.share(time.perf_counter() - start)
    except Unmeasurable as error:
        return [
            _row(spec, "time_share", conditions, kind, how="measured", why=str(error)) for kind in ("group", "layer")
        ]
    facts = {
        "calls": calls,
        "call_s": call_s,
        "operators_s": median([sum(op.seconds for op in ops) for ops in traces]),
        "busy": [share],
        "contended": share > BUSY,
    }
    rows = _shares(spec, conditions, "group", traces, lambda op: op.group, facts)
    if all(op.layer is not None for ops in traces for op in ops):
        return rows + _shares(spec, conditions, "layer", traces, lambda op: str(op.layer), facts)
    why = f"{conditions.runtime} does not tell which layers its operators belong to"
    return [*rows, _row(spec, "time_share", conditions, "layer", how="measured", why=why)]


def _call_s(session: Session) -> float:
    start = time.perf_counter()
    session()
    session.synchronize()
    return time.perf_counter() - start


def _shares(
    spec: ModelSpec,
    conditions: Conditions,
    kind: str,
    traces: Sequence[Sequence[Op]],
    part_of: Callable[[Op], str],
    facts: dict[str, Any],
) -> list[Measurement]:
    """One row per part: its share in every call, and the median of these."""
    rows = []
    for part in _in_order(kind, (part_of(op) for ops in traces for op in ops)):
        samples = tuple(
            sum(op.seconds for op in ops if part_of(op) == part) / sum(op.seconds for op in ops) for ops in traces
        )
        rows.append(
            _row(spec, "time_share", conditions, f"{kind} {part}".strip(), how="measured", samples=samples, **facts)
        )
    return rows


def _counted(spec: ModelSpec) -> list[Measurement]:
    """Shares of one image's macs and bytes."""
    conditions = Conditions(spec=spec.key)
    try:
        by_part = count_parts(spec)
    except Unmeasurable as error:
        return [
            _row(spec, name, conditions, kind, how="counted", why=str(error))
            for name in ("macs_share", "bytes_moved_share")
            for kind in ("group", "layer")
        ]
    rows = []
    for at, name in enumerate(("macs_share", "bytes_moved_share")):
        whole = sum(numbers[at] for numbers in by_part.values())
        for kind_at, kind in enumerate(("group", "layer")):
            for part in _in_order(kind, (place[kind_at] for place in by_part)):
                own = sum(numbers[at] for place, numbers in by_part.items() if place[kind_at] == part)
                share = own / whole if whole else 0.0
                named = f"{kind} {part}".strip()
                rows.append(_row(spec, name, conditions, named, how="counted", samples=(share,), whole=whole))
    return rows


def count_parts(spec: ModelSpec) -> dict[tuple[str, str], tuple[int, int]]:
    """Multiply-accumulates and bytes of one image by group and layer; raises as `counting.count` does."""
    with no_collection():
        with torch.device("meta"), values_are_asked_for():
            module = build(spec, device="meta")
            image = torch.empty(1, *spec.input_shape)
        weights = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
        found: dict[tuple[str, str], tuple[int, int]] = {}
        with calling(module) as caller:

            def watch(call: Call, work: Work) -> None:
                weight = any(tensor.untyped_storage()._cdata in weights for tensor in call.tensors)
                group = group_of(operator_name(call.operator), weight=weight) or "other"
                place = (group, layer_of(caller[-1][0]))
                macs, moved = found.get(place, (0, 0))
                own = call.bytes_moved if work.bytes_moved is None else work.bytes_moved
                found[place] = (macs + work.macs, moved + own)

            count_module(module, image, watch=watch)
    return found


def _in_order(kind: str, parts: Iterable[str]) -> list[str]:
    """Groups as `GROUPS` has them, layers as they are first called."""
    found = list(dict.fromkeys(parts))
    return sorted(found, key=GROUPS.index) if kind == "group" else found


def _row(
    spec: ModelSpec,
    name: str,
    conditions: Conditions,
    part: str,
    *,
    how: str,
    samples: tuple[float, ...] = (),
    why: str = "",
    **facts: Any,
) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=name,
        unit="1",
        value=None if why else median(samples),
        samples=samples,
        conditions=conditions.of_part(part),
        origin=origin(how, **facts),
        why=why,
    )
