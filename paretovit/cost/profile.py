"""What a model's cost is made of: shares of time, multiply-accumulates and bytes by operator group and by layer.

Time is measured, operator by operator, where the runtime can tell; the other two are counted on tensors without
storage. A part is named in a row's conditions: "group norm", "layer blocks.3.attn".

The time of a training step is taken apart in the same way, by group within each of its phases ("backward norm") and by
layer. The whole is there what the step takes without the profiler, under which Python is slower than it is, so what is
not inside operators is a part, too: "backward outside operators", and "layer (no layer)", which also has the operators
of no layer, such as the optimizer's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from paretovit.cost.calls import Call, Work, operator_name
from paretovit.cost.counting import count_module
from paretovit.cost.groups import GROUPS, OUTSIDE, Op, group_of, layer_of
from paretovit.cost.measure import BUSY, check
from paretovit.cost.on_meta import no_collection, values_are_asked_for
from paretovit.cost.operator_times import step_operators
from paretovit.cost.phases import PhasedStep, phase_seconds
from paretovit.cost.prepare import prepare
from paretovit.cost.products import calling
from paretovit.cost.runtimes import Session
from paretovit.cost.subject import Calibration, Setting
from paretovit.cost.torch_sessions import TrainingStep
from paretovit.devices import Busy, check_device, device_name, num_threads, origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement, median
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

STEP_SHARE = "train_time_share"
NO_LAYER = "(no layer)"


def profile(
    models: Sequence[str | ModelSpec],
    *,
    runtime: str = "torch_eager",
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    batch_size: int = 1,
    calls: int = 11,
    training: bool = False,
    store: Store | None = None,
    calibration: Calibration | None = None,
) -> list[Measurement]:
    """Rows of `time_share`, `macs_share` and `bytes_moved_share` for every part of the models, and `params_share` for
    every layer; with `training` instead those of `profile_step`, of the step that the indicator `train_step_s` times.

    The value of a time share is the median over `calls`, so a group's shares add to about 1; `origin.timing` has the
    seconds that all operators took (`operators_s`) and those of a call without the profiler (`call_s`, with what
    Python takes). Counted shares are of one image. What a runtime cannot tell is a row with a reason. Raises
    `UserError` for unknown names, and for runtimes and devices that are not here.
    """
    _check_calls(calls)
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
        if training:
            make = partial(_training, spec, conditions, device, calibration)
            rows = _of_step(spec, make, conditions, calls)
        else:
            rows = [*_timed(spec, conditions, device, calls, calibration), *_counted(spec)]
        if store is not None:
            store.append(rows, [spec])
        made += rows
    return made


def profile_step(
    spec: ModelSpec,
    training: PhasedStep,
    conditions: Conditions,
    *,
    calls: int = 11,
    store: Store | None = None,
) -> list[Measurement]:
    """Rows of `train_time_share`: what a training step is made of, by operator group within each of its phases, and by
    layer, the backward pass with the forward pass.

    `calls` steps are timed phase by phase, and after each one another is traced. A share is the seconds inside
    operators, of the traced step, over those of the whole step, of the timed one; where the profiler makes operators
    seem longer than their whole phase, they share that out. So of each pair the shares add to 1; the value is their
    median. `origin.timing` has the seconds of a step (`step_s`) and of all operators (`operators_s`). A step that
    cannot be taken is a row with the reason.
    """
    _check_calls(calls)
    rows = _of_step(spec, lambda: training, conditions, calls)
    if store is not None:
        store.append(rows, [spec])
    return rows


def _check_calls(calls: int) -> None:
    if calls < 1:
        raise UserError(f"calls must be at least 1, got {calls}")


def _training(spec: ModelSpec, conditions: Conditions, device: str, calibration: Calibration | None) -> PhasedStep:
    """The training step on random images. Raises `Unmeasurable` where the runtime does not train, and where it does not
    call the operators one by one."""
    assert isinstance(conditions.batch_size, int) and conditions.runtime and conditions.dtype  # noqa: PT018
    session = prepare(
        spec, runtime=conditions.runtime, device=device, dtype=conditions.dtype, threads=conditions.threads,
        batch_size=conditions.batch_size, training=True, calibration=calibration,
    )  # fmt: skip
    if isinstance(session, TrainingStep) and session.is_eager:
        return session
    raise Unmeasurable(f"{conditions.runtime} does not tell what its operators take in training; use torch_eager")


def _of_step(spec: ModelSpec, make: Callable[[], PhasedStep], conditions: Conditions, calls: int) -> list[Measurement]:
    try:
        training = make()
        for _ in range(2):  # to warm up, and to make the optimizer's moments
            phase_seconds(training)
        step_operators(training)
        busy, start = Busy(), time.perf_counter()
        steps = [(phase_seconds(training), step_operators(training)) for _ in range(calls)]
        others = busy.share(time.perf_counter() - start)
    except Unmeasurable as error:
        return [_row(spec, STEP_SHARE, conditions, "phase", how="measured", why=str(error))]
    facts = {
        "calls": calls,
        "step_s": median([sum(took.values()) for took, _ in steps]),
        "operators_s": median([sum(op.seconds for op in ops) for _, ops in steps]),
        "busy": [others],
        "contended": others > BUSY,
    }
    return _step_rows(spec, conditions, steps, facts)


def _step_rows(
    spec: ModelSpec,
    conditions: Conditions,
    steps: Sequence[tuple[Mapping[str, float], Sequence[Op]]],
    facts: dict[str, Any],
) -> list[Measurement]:
    """One row per part: its share in every step, and the median of these."""
    split = [_step_shares(took, ops) for took, ops in steps]
    phases = list(dict.fromkeys(phase for took, _ in steps for phase in took))
    groups = sorted(
        {part for by_group, _ in split for part in by_group},
        key=lambda part: (phases.index(part[0]), (*GROUPS, OUTSIDE).index(part[1])),
    )
    layers = sorted(
        dict.fromkeys(layer for _, by_layer in split for layer in by_layer), key=lambda layer: layer == NO_LAYER
    )
    named = {f"{phase} {group}": tuple(one.get((phase, group), 0.0) for one, _ in split) for phase, group in groups}
    named |= {f"layer {layer}".strip(): tuple(one.get(layer, 0.0) for _, one in split) for layer in layers}
    return [
        _row(spec, STEP_SHARE, conditions, part, how="measured", samples=samples, **facts)
        for part, samples in named.items()
    ]


def _step_shares(took: Mapping[str, float], ops: Sequence[Op]) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Shares of one step by phase and group, and by layer; `took` has the seconds of its phases."""
    whole = sum(took.values())
    by_group: dict[tuple[str, str], float] = {}
    by_layer: dict[str, float] = {}
    for phase, seconds in took.items():
        own = [op for op in ops if op.phase == phase]
        inside = sum(op.seconds for op in own)
        scale = min(1.0, seconds / inside) / whole if inside else 0.0
        for op in own:
            share = op.seconds * scale
            by_group[phase, op.group] = by_group.get((phase, op.group), 0.0) + share
            layer = NO_LAYER if op.layer is None else op.layer
            by_layer[layer] = by_layer.get(layer, 0.0) + share
        outside = seconds / whole - inside * scale
        by_group[phase, OUTSIDE] = max(outside, 0.0)
        by_layer[NO_LAYER] = by_layer.get(NO_LAYER, 0.0) + max(outside, 0.0)
    return by_group, by_layer


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
    by_layer = params_by_layer(spec)
    whole = sum(by_layer.values())
    for layer, own in by_layer.items():
        named = f"layer {layer}".strip()
        rows.append(_row(spec, "params_share", conditions, named, how="counted", samples=(own / whole,), whole=whole))
    return rows


def params_by_layer(spec: ModelSpec) -> dict[str, int]:
    """Elements of the trained tensors of each layer; tensors that several layers share are those of the first."""
    found: dict[str, int] = {}
    for name, parameter in build(spec, device="meta").named_parameters():
        layer = layer_of(name.rpartition(".")[0])
        found[layer] = found.get(layer, 0) + parameter.numel()
    return found


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
