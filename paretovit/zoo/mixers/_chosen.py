"""What mixers that choose tokens by their content have in common: choosing exactly, taking rows, putting them back.

Shapes   B images, N tokens, H heads, M tokens chosen, K width per head, T tokens of all images, R rows.
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
    B, H, _ = index_BHM.shape
    num_tokens, num_heads, K = x_BNHK.shape[1:]
    # rows of x seen as a table of width K
    image_B11 = torch.arange(B, device=index_BHM.device).view(-1, 1, 1)
    head_H1 = torch.arange(H, device=index_BHM.device).unsqueeze(1)
    rows = (index_BHM + image_B11 * num_tokens) * num_heads + head_H1
    return x_BNHK.reshape(-1, K).index_select(0, rows.flatten()).view(*index_BHM.shape, -1)


def rows_of_heads(at_HX: Tensor) -> Tensor:
    """Rows of (T, H, K) seen as a table of width K, in one row, where head h wants the tokens `at[h]` (H, ..)."""
    heads = torch.arange(len(at_HX), device=at_HX.device)
    return (len(at_HX) * at_HX + heads.view(-1, *[1] * (at_HX.ndim - 1))).flatten()


def added_up(x_MK: Tensor, rows_M: Tensor, num_rows: int) -> Tensor:
    """A table (R, ..) with `x` (M, ..) added where `rows` says: rows not named are zero."""
    return x_MK.new_zeros(num_rows, *x_MK.shape[1:]).index_add_(0, rows_M, x_MK)
