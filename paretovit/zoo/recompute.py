"""What the backward pass needs may be worked out again instead of kept: time of one cheap operator for memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def recomputed(value: Tensor, again: Callable[[], Tensor]) -> AbstractContextManager[None]:
    """Operators called inside that keep `value` for the backward pass keep `again` in its place.

    `again` must give `value` once more, bit for bit, from what is kept anyway. A compiled model is left alone: the
    compiler weighs the same choice for the whole graph. Second derivatives (`create_graph=True`) are refused.
    """
    if not (torch.is_grad_enabled() and value.requires_grad) or torch.compiler.is_compiling():
        return nullcontext()
    mine = value.untyped_storage()._cdata

    def pack(kept: Tensor) -> Any:
        if kept.untyped_storage()._cdata != mine:
            return kept.detach()  # an operator's own output would hold the operator, and that the output, for good
        return kept.size(), kept.stride(), kept.storage_offset()

    def unpack(packed: Any) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("what is worked out again for the backward pass has first derivatives only")
        return packed if isinstance(packed, Tensor) else again().as_strided(*packed)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def leaving_one_trace(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What `checkpoint` calls for each pass: a context for the module's forward pass, one for its repetition.

    A training pass may move buffers: running statistics, centres of clusters, a count of steps. The repetition starts
    from the buffers that the first pass found, so it computes the same, and what it does to them is dropped.
    """
    return (passes := _Passes(module)).first(), passes


class _Passes:
    """The buffers that a forward pass of `module` moved, as it found them; as a context, the repetition of that pass.

    It may be entered again, for a backward pass that is run twice.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._found: list[tuple[nn.Module, str, Tensor]] = []
        self._after: list[tuple[nn.Module, str, Tensor]] = []

    @contextmanager
    def first(self) -> Iterator[None]:
        before = [
            (part, name, buffer, buffer._version, buffer.clone())
            for part in self._module.modules()
            for name, buffer in part.named_buffers(recurse=False)
        ]
        yield
        # a part with one buffer that moved is kept whole: batch norm writes its statistics without a new version
        moved = {
            part
            for part, name, buffer, version, _ in before
            if getattr(part, name) is not buffer or buffer._version != version
        }
        self._found = [(part, name, copy) for part, name, _, _, copy in before if part in moved]

    def __enter__(self) -> None:
        self._after = [(part, name, getattr(part, name)) for part, name, _ in self._found]
        for part, name, copy in self._found:
            setattr(part, name, copy.clone())

    def __exit__(self, *error: object) -> None:
        for part, name, buffer in self._after:
            setattr(part, name, buffer)
