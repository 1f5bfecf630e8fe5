"""Static costs of a model: every operator of one forward pass is caught and counted, on tensors without storage.

What is counted is defined, operator by operator, in `rules.py`. A model gives the same numbers on meta and on real
tensors, whatever its device prefers; on fake ones too, but for bytes_moved where torch guesses another memory
layout for a convolution than it then uses.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from paretovit.cost.calls import Call, Uncountable, Work, operator_name
from paretovit.cost.on_meta import MetaResults, needs_values, no_collection, values_are_asked_for
from paretovit.cost.rules import find_rule, rule

__all__ = ["Call", "Count", "OperatorCount", "Uncountable", "Work", "count", "count_module", "rule"]

# Which operators attention becomes depends on the device (plain products on meta tensors, one of several fused
# operators elsewhere), and so does the layout of its result, which decides on copies further on. It is counted
# whole, and handed on as every fused kernel writes it: (.., query, head, width).
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_DATA_DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


@dataclass(frozen=True)
class OperatorCount:
    """What all calls of one operator cost together."""

    calls: int
    macs: int
    elementwise_ops: int
    activations: int
    bytes_moved: int


@dataclass(frozen=True)
class Count:
    """Static costs of one forward pass; `by_operator` splits them, the dearest operator first.

    params            elements of all parameters that are trained, shared ones once
    bytes_moved       in the precision that the pass ran in
    chain_depth       operators on the longest chain of which each needs what the one before it wrote, so that no
                      number of processors lets them run at once. Views are none. What an operator needs is followed
                      by storage: one that reads a slice waits for all that was written beside it
    macs_chain_depth  the most operators with multiply-accumulates on any such chain
    """

    params: int
    macs: int
    elementwise_ops: int
    activations: int
    bytes_moved: int
    chain_depth: int
    macs_chain_depth: int
    by_operator: dict[str, OperatorCount] = field(default_factory=dict, compare=False, repr=False)

    @property
    def arithmetic_intensity(self) -> float:
        """Multiply-accumulates per byte moved (MAC/B)."""
        return self.macs / self.bytes_moved


def count(make_module: Callable[[], nn.Module], input_shape: Sequence[int]) -> Count:
    """Costs of a pass over one input of `input_shape` (1, channels, height, width); no weights are allocated.

    Raises `Uncountable` for an operator without a rule, and `Unmeasurable` for a model whose operators depend on
    the values of its tensors: `count_module` counts such a model on real ones.
    """
    with no_collection():
        with torch.device("meta"), _OperatorCounter(counting=False), values_are_asked_for():
            module = make_module().to("meta")
            image = torch.empty(tuple(input_shape))
        return count_module(module, image)


def count_module(module: nn.Module, *inputs: Tensor, watch: Callable[[Call, Work], None] | None = None) -> Count:
    """Costs of `module(*inputs)` in eval mode, for all images of the batch together; the module is left as found.

    The inputs are meta, fake or real tensors, as the module's are. `watch` is told of every call that is counted,
    when it is. Raises as `count` does.
    """
    counter = _OperatorCounter(watch=watch)
    with ExitStack() as stack:
        stack.enter_context(as_found(module))
        module.eval()
        stack.enter_context(_without_fast_path())
        # In this mode the counter sees operators before they are taken apart into what their device prefers.
        stack.enter_context(torch.inference_mode())
        stack.enter_context(counter)
        stack.enter_context(values_are_asked_for())
        module(*inputs)
    totals = [OperatorCount(*total) for total in counter.totals.values()]
    by_cost = sorted(zip(counter.totals, totals, strict=True), key=lambda item: astuple(item[1])[1:], reverse=True)
    return Count(
        params=sum(p.numel() for p in module.parameters() if p.requires_grad),
        macs=sum(t.macs for t in totals),
        elementwise_ops=sum(t.elementwise_ops for t in totals),
        activations=sum(t.activations for t in totals),
        bytes_moved=sum(t.bytes_moved for t in totals),
        chain_depth=counter.chains.longest,
        macs_chain_depth=counter.chains.most_macs,
        by_operator=dict(by_cost),
    )


class _OperatorCounter(TorchDispatchMode):
    """Adds up the work of every aten operator; `totals` holds calls, macs, elementwise_ops, activations, bytes."""

    def __init__(self, *, counting: bool = True, watch: Callable[[Call, Work], None] | None = None) -> None:
        super().__init__()
        self.totals: dict[str, list[int]] = {}
        self.counting, self.watch = counting, watch
        self.chains = _Chains()
        self.run = MetaResults()

    def add(self, call: Call) -> None:
        counted_by = find_rule(call.operator)
        assert counted_by is not None
        work = counted_by(call)
        self.chains.add(call, work)
        if work.is_free:
            return
        if self.watch is not None:
            self.watch(call, work)
        total = self.totals.setdefault(operator_name(call.operator), [0, 0, 0, 0, 0])
        total[0] += 1
        total[1] += work.macs
        total[2] += work.elementwise_ops
        total[3] += work.activations
        total[4] += call.bytes_moved if work.bytes_moved is None else work.bytes_moved

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.counting and find_rule(func) is None:  # made of other operators, which count themselves
            with self:
                return func.decompose(*args, **kwargs)
        try:
            result = self.run(func, args, kwargs)
        except RuntimeError as error:
            if not _DATA_DEPENDENT.isdisjoint(func.tags):
                raise needs_values(operator_name(func)) from error
            raise
        if func is _ATTENTION and result.ndim > 2:
            result = result.transpose(-3, -2).contiguous().transpose(-3, -2)
        if self.counting:
            self.add(Call(func, args, kwargs, result))
        return result


class _Chains:
    """How long the chains of operators are that end in each storage that is alive.

    longest    most operators on a chain
    most_macs  most operators with multiply-accumulates on a chain, perhaps another one
    """

    def __init__(self) -> None:
        self.longest = self.most_macs = 0
        self._ends: dict[int, tuple[int, int]] = {}
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def add(self, call: Call, work: Work) -> None:
        if call.operator.is_view:
            return  # of a storage that is known
        before = [self._ends.get(tensor.untyped_storage()._cdata, (0, 0)) for tensor in call.tensors]
        length = (not work.is_free) + max((operators for operators, _ in before), default=0)
        macs = (work.macs > 0) + max((products for _, products in before), default=0)
        self.longest, self.most_macs = max(self.longest, length), max(self.most_macs, macs)
        for made in call.results:
            self._end(made.untyped_storage(), (length, macs))

    def _end(self, storage: torch.UntypedStorage, lengths: tuple[int, int]) -> None:
        key = storage._cdata

        def gone(_: Any) -> None:
            del self._ends[key], self._alive[key]

        if key not in self._alive:
            self._alive[key] = weakref.ref(storage, gone)
        self._ends[key] = lengths


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """torch's encoder layers run as one opaque operator on some devices; here they run as they are written."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def as_found(module: nn.Module) -> Iterator[None]:
    """Afterwards everything is as it was: modes, and what a forward pass leaves on its modules (LeViT keeps the
    biases it has looked up, and would cost less the second time). Weights and their gradients are not looked at."""
    found = [(m, dict(m.__dict__)) for m in module.modules()]
    containers = [(c, copy.copy(c)) for _, attributes in found for c in attributes.values() if type(c) in (dict, list)]
    buffers = [(b, b.clone()) for b in module.buffers() if not b.is_meta]
    try:
        yield
    finally:
        for m, attributes in found:
            m.__dict__.clear()
            m.__dict__.update(attributes)
        for container, contents in containers:
            container.clear()
            container.update(contents) if isinstance(container, dict) else container.extend(contents)
        with torch.no_grad():
            for buffer, values in buffers:
                buffer.copy_(values)
