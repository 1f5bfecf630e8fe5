"""Windows of the token grid: which token sits in which slot of which window, and attention within them.

Shapes   B images, N tokens, S slots of all windows in one row, H heads, K width per head, W windows, M slots in one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paretovit.zoo.mixers._softmax import attend, attend_among_few, attend_by_products, by_products, has_few_keys
from paretovit.zoo.tokens import Grid

NOBODY = -1  # region of the slots that no token fills


def attend_in_windows(q_BHSK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, bias: Tensor, slot_N: Tensor) -> Tensor:
    """Softmax attention of each window's slots to each other, read from the slot of each token, (B, N, H K).

    `bias` is added to the logits: (1, H, M, M) where it is the same for all windows, else (W, H, M, M).
    """
    images, slots = len(q_BHSK), bias.shape[-1]
    q, k, v = (part.unflatten(2, (-1, slots)).transpose(1, 2) for part in (q_BHSK, k_BHSK, v_BHSK))
    if has_few_keys(q, k):
        out_BWHMK = attend_among_few(q, k, v, bias)
    elif by_products(q, bias):
        out_BWHMK = attend_by_products(q, k, v, bias)
    else:
        bias = bias.to(q.dtype)
        if len(bias) > 1:
            bias = bias.repeat(images, 1, 1, 1)
        out = attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), bias=bias)
        out_BWHMK = out.unflatten(0, (images, -1))
    # Whether windows and slots are one dimension of the output in memory depends on how attention is done, so a view
    # that takes it for granted would not export.
    out_BWMHK = out_BWHMK.transpose(2, 3).clone(memory_format=torch.contiguous_format)
    return out_BWMHK.flatten(3).flatten(1, 2).index_select(1, slot_N)


def offset_bias(table_TH: Tensor, offset_MM: Tensor) -> Tensor:
    """The learned bias of each pair of query and key in a window, (1, H, M, M)."""
    heads, slots = table_TH.shape[1], len(offset_MM)
    return table_TH.T.gather(1, offset_MM.flatten().expand(heads, -1)).view(1, heads, slots, slots)


def window_slots(grid: Grid, window: Grid, shift: Grid) -> Tensor:
    """The token in each slot of each window, (W, M); `NOBODY` in the slots beyond the edge of the grid."""
    padded = [-(-side // w) * w for side, w in zip(grid, window, strict=True)]
    token = torch.full(padded, NOBODY)
    token[: grid[0], : grid[1]] = torch.arange(grid[0] * grid[1]).view(grid)
    token = token.roll([-s for s in shift], dims=(0, 1))
    return token.unflatten(1, (-1, window[1])).unflatten(0, (-1, window[0])).transpose(1, 2).flatten(2).flatten(0, 1)


def places_of(slots: Tensor, patches: int) -> Tensor:
    """Where in `slots` each of the tokens 0, 1, ... lies, (N,)."""
    place = slots.new_empty(patches)
    filled = slots != NOBODY
    place[slots[filled]] = torch.arange(len(slots))[filled]
    return place


def offsets(window: Grid) -> Tensor:
    """The row of the bias table for each pair of query and key in a window, (M, M)."""
    rows, columns = window
    row, column = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    down = row[:, None] - row[None, :] + rows - 1
    right = column[:, None] - column[None, :] + columns - 1
    return down * (2 * columns - 1) + right


def deaf(slots_WM: Tensor, grid: Grid, shift: Grid) -> Tensor | None:
    """True where a query does not hear a key of its window, (W, 1, M, M); None where all hear all.

    A shift brings the first rows and columns behind the last: they share windows, yet are no neighbours.
    """
    if not any(shift) and (slots_WM != NOBODY).all():
        return None  # seen without comparing all pairs
    row, column = slots_WM // grid[1], slots_WM % grid[1]
    region = 2 * (row < shift[0]).int() + (column < shift[1]).int()
    region = region.masked_fill(slots_WM == NOBODY, NOBODY)
    apart = (region[:, :, None] != region[:, None, :]).unsqueeze(1)
    return apart if apart.any() else None
