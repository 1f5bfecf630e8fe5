"""Attention whose weights are the same for every image: what such weights do with values.

Shapes   B images, N tokens, D width, H heads, K width per head, C = B K, R rows at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def mixed_by(logits: Iterable[Tensor], v_BND: Tensor, heads: int) -> Tensor:
    """Each head's share of the values, mixed by the softmax of its logits; (B, N, D).

    The logits come as (H, N, N) in one or, R rows of all heads at a time, in several (H, R, N): weights of few rows do
    not leave the caches.
    """
    B, N, D = v_BND.shape
    # images beside one another as columns: one product per head, and no copy of the weights per image
    v_HNC = v_BND.view(B, N, heads, -1).permute(2, 1, 0, 3).reshape(heads, N, -1)
    out_HNC = torch.cat([rows_HRN.softmax(-1) @ v_HNC for rows_HRN in logits], dim=1)
    return out_HNC.view(heads, N, B, -1).permute(2, 1, 0, 3).reshape(B, N, D)
