"""Work done a piece at a time, so that what a piece writes between its input and its output does not leave the caches.

Shapes   B images, N tokens, H heads, K width per head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

AT_ONCE = 2**20  # values of a piece on a CPU: 4 MB, about what the caches hold beside input and output


def pays(x: Tensor) -> bool:
    """Whether to work in pieces: on a CPU, and unless gradients or a compiler would have every piece by itself.

    On "meta", too, where the memory that a CPU takes is foretold.
    """
    return x.device.type in ("cpu", "meta") and not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def by_images(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor], q: Tensor, k: Tensor, v: Tensor, *, values: int
) -> Tensor:
    """`attend(q, k, v)`, all (B, H, N, K), a few images at a time, where one writes out so many `values` at once."""
    pieces = -(-len(q) * values // AT_ONCE)
    if pieces == 1 or len(q) == 1 or not pays(q):
        return attend(q, k, v)
    images = -(-len(q) // pieces)  # as even as can be
    _, H, N, K = v.shape
    # token by token in memory, as the projection that comes next reads it
    out_BHNK = v.new_empty(len(q), N, H, K).transpose(1, 2)
    for start in range(0, len(q), images):
        here = slice(start, start + images)
        out_BHNK[here] = attend(q[here], k[here], v[here])
    return out_BHNK
