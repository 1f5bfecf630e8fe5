"""What the backward pass needs may be worked out again instead of kept: time of one cheap operator for memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


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
