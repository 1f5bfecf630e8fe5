"""What mixers that choose tokens by their content have in common: choosing exactly, taking rows, putting them back.

Shapes   B images, N tokens, H heads, M tokens chosen, K width per head.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def exactly(x: Tensor) -> AbstractContextManager[object]:
    """A context out of autocast's reach: rounding that is harmless in a sum would choose other tokens."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def take(x_BNHK: Tensor, index_BHM: Tensor) -> Tensor:
    """The tokens of `index` for each image and head, (B, H, M, K). Heads of `x` beyond those of `index` are left."""
    rows = _rows(index_BHM, *x_BNHK.shape[1:3])
    return x_BNHK.reshape(-1, x_BNHK.shape[-1]).index_select(0, rows.flatten()).view(*index_BHM.shape, -1)


def put_back(x_BHMK: Tensor, index_BHM: Tensor, num_tokens: int) -> Tensor:
    """Where `index` says, (B, N, H, K): values of the same token are summed, tokens not named are zero."""
    B, H, _, K = x_BHMK.shape
    rows = _rows(index_BHM, num_tokens, H)
    empty = x_BHMK.new_zeros(B * num_tokens * H, K)
    return empty.index_add(0, rows.flatten(), x_BHMK.reshape(-1, K)).view(B, num_tokens, H, K)


def _rows(index_BHM: Tensor, num_tokens: int, num_heads: int) -> Tensor:
    """Rows of (B, N, H, K) seen as a table of width K."""
    B, H, _ = index_BHM.shape
    image_B11 = torch.arange(B, device=index_BHM.device).view(-1, 1, 1)
    head_H1 = torch.arange(H, device=index_BHM.device).unsqueeze(1)
    return (index_BHM + image_B11 * num_tokens) * num_heads + head_H1
