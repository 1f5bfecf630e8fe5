"""What each operator of one call takes in PyTorch, by torch's profiler: eager code by module, compiled code by kernel.

Only the time inside operators counts. What Python takes between them is in no operator's time, so these add up to less
than a call takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from paretovit.cost.groups import Op, fused_group_of, group_of, layer_of, overloads_of
from paretovit.cost.products import calling
from paretovit.cost.rules import Call, operator_name

_MARK = "paretovit operator "
_FUSED = ("cpp_fused_", "triton_")  # how the compiler begins the names of its kernels, a number of the graph aside


def eager_operators(model: nn.Module, call: Callable[[], Any], *, cuda: bool = False) -> list[Op]:
    """The operators of `call`, which runs `model`, each with the layer it belongs to."""
    weights = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    with calling(model) as caller, _profiler(cuda) as trace, _Marked(caller, weights) as marked:
        call()
        _wait(cuda)
    found = []
    for event in trace.events():
        if event.name.startswith(_MARK) and event.cpu_children:
            operator, layer, weight = marked.seen[int(event.name.removeprefix(_MARK))]
            for group, seconds in _by_group(event.cpu_children, None, weight, cuda):
                found.append(Op(operator, layer, group, seconds))
    return found


def compiled_operators(call: Callable[[], Any], *, cuda: bool = False) -> list[Op]:
    """The kernels of `call`, which runs what `torch.compile` made with `KERNELS_ARE_NAMED`; no layers are known."""
    with _profiler(cuda) as trace:
        call()
        _wait(cuda)
    return list(_kernels([event for event in trace.events() if event.cpu_parent is None], cuda))


# Without it the compiler's own kernels are in no trace of a CPU.
KERNELS_ARE_NAMED: dict[str, str | int | bool | Callable[..., Any]] = {"cpp.enable_kernel_profile": True}


class _Marked(TorchDispatchMode):
    """Puts every operator that the model calls into a range of the profiler; `seen` says what the ranges stand for:
    the operator, the layer that called it, and whether it was given a weight."""

    def __init__(self, caller: list[tuple[str, nn.Module]], weights: set[int]) -> None:
        super().__init__()
        self.caller, self.weights = caller, weights
        self.seen: list[tuple[str, str, bool]] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = Call(func, args, kwargs, None).tensors
        weight = any(tensor.untyped_storage()._cdata in self.weights for tensor in given)
        self.seen.append((operator_name(func), layer_of(self.caller[-1][0]), weight))
        with record_function(f"{_MARK}{len(self.seen) - 1}"):
            return func(*args, **kwargs)


def _profiler(cuda: bool) -> profile:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it speaks of CUDA where there is none; read when first used
    return profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])


def _wait(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def _by_group(
    events: Iterable[FunctionEvent], within: str | None, weight: bool | None, cuda: bool
) -> Iterator[tuple[str, float]]:
    """Groups and seconds of these operators.

    An operator that only calls others (`matmul`: copy, then multiply) is taken apart, so a copy on the way counts as
    one; views and room for results belong to what they are made for.
    """
    for event in events:
        own = group_of(event.name, weight=weight)
        if own is None or (within is not None and _is_view(event.name)):
            own = within
        if _calls_others(event.name):
            yield own or "other", _own_seconds(event, cuda)
            yield from _by_group(event.cpu_children, own, weight, cuda)
        else:
            yield own or "other", _seconds(event, cuda)


def _kernels(events: Iterable[FunctionEvent], cuda: bool) -> Iterator[Op]:
    for event in events:
        fused = next((event.name.partition(start)[2] for start in _FUSED if start in event.name), "")
        if fused:
            yield Op(event.name, None, fused_group_of(_operators_in(fused)), _seconds(event, cuda))
        elif "::" in event.name:
            for group, seconds in _by_group([event], None, None, cuda):
                yield Op(event.name, None, group, seconds)
        else:
            yield from _kernels(event.cpu_children, cuda)


def _operators_in(kernel: str) -> Iterator[str]:
    """The operators that a kernel is named after: "add", "native_layer_norm" of "add_native_layer_norm_view_1"; the
    longest names that torch has are taken first."""
    words = kernel.split("_")
    at = 0
    while at < len(words):
        for end in range(len(words), at, -1):
            name = "_".join(words[at:end])
            if overloads_of(f"aten::{name}") or group_of(name):
                yield name
                at = end
                break
        else:
            at += 1


def _is_view(operator: str) -> bool:
    return any(form.is_view for form in overloads_of(operator))


def _calls_others(operator: str) -> bool:
    """Whether torch has no kernel of its own for it."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(has(form.name(), "CompositeImplicitAutograd") for form in overloads_of(operator))


def _seconds(event: FunctionEvent, cuda: bool) -> float:
    """Of the operator with all that it calls: on its device, in its kernels; on the CPU, there."""
    return (event.device_time_total if cuda else event.cpu_time_total) / 1e6


def _own_seconds(event: FunctionEvent, cuda: bool) -> float:
    return (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
