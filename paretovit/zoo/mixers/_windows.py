"""Attention in windows, once it is known which token sits in which slot of which window.

Shapes   B images, N tokens, S slots of all windows in one row, H heads, K width per head, W windows, M slots in one.
"""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.mixers._softmax import attend


def attend_in_windows(q_BHSK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, bias: Tensor, slot_N: Tensor) -> Tensor:
    """Softmax attention of each window's slots to each other, read from the slot of each token, (B, N, H K).

    `bias` is added to the logits: (1, H, M, M) where it is the same for all windows, else (W, H, M, M).
    """
    images, slots = len(q_BHSK), bias.shape[-1]
    q, k, v = (part.unflatten(2, (-1, slots)).transpose(1, 2).flatten(0, 1) for part in (q_BHSK, k_BHSK, v_BHSK))
    bias = bias.to(q.dtype)
    if len(bias) > 1:
        bias = bias.repeat(images, 1, 1, 1)
    out = attend(q, k, v, bias=bias)
    # Whether windows and slots are one dimension of the output in memory depends on how attention is done, so a view
    # that takes it for granted would not export.
    out_BWMHK = out.unflatten(0, (images, -1)).transpose(2, 3)
    return out_BWMHK[:, slot_N // slots, slot_N % slots].flatten(2)
