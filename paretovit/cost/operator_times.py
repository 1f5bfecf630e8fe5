"""What each operator of one call takes in PyTorch, by torch's profiler: eager code by module, compiled code by kernel.

Only the time inside operators counts. What Python takes between them is in no operator's time, so these add up to less
than a call takes.

Of a training step, autograd gives the node that it makes for an operator of the forward pass a number, which the
profiler notes beside the operator and beside the node's run in the backward pass. So what the backward pass calls is
known by what it is the derivative of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from paretovit.cost.calls import Call, operator_name
from paretovit.cost.groups import Op, fused_group_of, group_of, layer_of, overloads_of
from paretovit.cost.phases import OTHER, PhasedStep
from paretovit.cost.products import calling

_MARK, _PHASE = "paretovit operator ", "paretovit phase "
_ENGINE, _OF_NODES = "autograd::engine::", 1  # what runs a node of autograd: the engine, by name; the node, by scope
_FUSED = ("cpp_fused_", "triton_")  # how the compiler begins the names of its kernels, a number of the graph aside


def eager_operators(model: nn.Module, call: Callable[[], Any], *, cuda: bool = False) -> list[Op]:
    """The operators of `call`, which runs `model`, each with the layer it belongs to."""
    return [
        Op(seen.operator, seen.layer, group, seconds)
        for event, seen in _traced(model, call, cuda)
        for group, seconds in _by_group(event.cpu_children, None, seen.weight, cuda)
    ]


def step_operators(training: PhasedStep) -> list[Op]:
    """The operators of one step, each with its phase.

    One of the backward pass belongs to the layer of the operator that it is the derivative of, and to its group where
    its own name does not say more than "other"; a product there is linear if the product that it comes from is.
    Operators outside of the forward and backward pass belong to no layer.
    """
    cuda = training.cuda
    traced = _traced(training.model, lambda: training.step(lambda name: record_function(_PHASE + name)), cuda)
    traced.sort(key=lambda one: one[0].time_range.start)
    own_thread = traced[0][0].thread if traced else 0
    nodes: dict[int, _Node] = {}
    found = []
    for event, seen in traced:
        above = list(_above(event))
        elsewhere = OTHER if event.thread == own_thread else "backward"  # only autograd has threads of its own
        phase = next((one.name.removeprefix(_PHASE) for one in above if one.name.startswith(_PHASE)), elsewhere)
        layer = seen.layer if phase == "forward" or (phase == "backward" and seen.layer) else None
        source = _Node(layer, "other", seen.weight)
        numbered = next((one for one in above if one.sequence_nr >= 0), None)
        if numbered is not None and (numbered.scope == _OF_NODES or numbered.name.startswith(_ENGINE)):
            source = nodes.get(numbered.sequence_nr, source)
        elif numbered is not None:
            # of operators with one number the last one made the node; what else is called inside it, or by a function
            # of the model's own, says no more than the layer
            is_it = numbered.name.replace("::", ".") == seen.operator
            if is_it or numbered.sequence_nr not in nodes:
                own = group_of(seen.operator, weight=seen.weight) if is_it else None
                nodes[numbered.sequence_nr] = _Node(layer, seen.as_done(own or "other"), seen.weight)
        for group, seconds in _by_group(event.cpu_children, None, seen.weight or source.weight, cuda):
            named = source.group if group == "other" else seen.as_done(group)
            found.append(Op(seen.operator, source.layer, named, seconds, phase))
    return found


class _Seen(NamedTuple):
    """An operator that was called, the layer that called it, and whether it was given a weight and a matrix of them."""

    operator: str
    layer: str
    weight: bool
    matrix: bool

    def as_done(self, group: str) -> str:
        """What it does: a convolution with a matrix is a linear map, as training does some."""
        return "linear" if group == "convolution" and self.matrix else group


class _Node(NamedTuple):
    """What a node of autograd is the derivative of."""

    layer: str | None
    group: str
    weight: bool


def _traced(model: nn.Module, call: Callable[[], Any], cuda: bool) -> list[tuple[FunctionEvent, _Seen]]:
    """The profiler's range around every operator of `call` that reached a kernel, and what the range stands for."""
    weights = {t.untyped_storage()._cdata: t.ndim for t in (*model.parameters(), *model.buffers())}
    with calling(model) as caller, _profiler(cuda) as trace, _Marked(caller, weights) as marked:
        call()
        _wait(cuda)
    return [
        (event, marked.seen[int(event.name.removeprefix(_MARK))])
        for event in trace.events()
        if event.name.startswith(_MARK) and event.cpu_children
    ]


def _above(event: FunctionEvent) -> Iterator[FunctionEvent]:
    """The ranges that it lies in, the innermost first."""
    parent = event.cpu_parent
    while parent is not None:
        yield parent
        parent = parent.cpu_parent


def compiled_operators(call: Callable[[], Any], *, cuda: bool = False) -> list[Op]:
    """The kernels of `call`, which runs what `torch.compile` made with `KERNELS_ARE_NAMED`; no layers are known."""
    with _profiler(cuda) as trace:
        call()
        _wait(cuda)
    return list(_kernels([event for event in trace.events() if event.cpu_parent is None], cuda))


# Without it the compiler's own kernels are in no trace of a CPU.
KERNELS_ARE_NAMED: dict[str, str | int | bool | Callable[..., Any]] = {"cpp.enable_kernel_profile": True}


class _Marked(TorchDispatchMode):
    """Puts every operator that the model calls into a range of the profiler; `seen` says what the ranges stand for."""

    def __init__(self, caller: list[tuple[str, nn.Module]], weights: dict[int, int]) -> None:
        """`weights` has the number of axes of what lies in the storages of weights."""
        super().__init__()
        self.caller, self.weights = caller, weights
        self.seen: list[_Seen] = []
        self._copies: list[Tensor] = []  # kept, so that nothing else comes to lie where a copy of a weight lay

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = Call(func, args, kwargs, None).tensors
        axes = [self.weights[at] for tensor in given if (at := tensor.untyped_storage()._cdata) in self.weights]
        self.seen.append(_Seen(operator_name(func), layer_of(self.caller[-1][0]), bool(axes), 2 in axes))
        with record_function(f"{_MARK}{len(self.seen) - 1}"):
            result = func(*args, **kwargs)
        if axes and func is torch.ops.aten._to_copy.default:  # what mixed precision multiplies by
            self.weights[result.untyped_storage()._cdata] = result.ndim
            self._copies.append(result)
        return result


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
