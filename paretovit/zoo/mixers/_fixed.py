"""Attention whose weights are the same for every image: what such weights do with values.

Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

from torch import Tensor


def mixed_by(weights_HNN: Tensor, v_BND: Tensor) -> Tensor:
    """Each head's share of the values, mixed by its weights; (B, N, D)."""
    (B, N, D), H = v_BND.shape, len(weights_HNN)
    # images beside one another as columns: one product per head, and no copy of the weights per image
    v_HNC = v_BND.view(B, N, H, -1).permute(2, 1, 0, 3).reshape(H, N, -1)
    return (weights_HNN @ v_HNC).view(H, N, B, -1).permute(2, 1, 0, 3).reshape(B, N, D)
