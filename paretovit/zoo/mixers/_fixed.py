"""Attention whose weights are the same for every image: what such weights do with values.

Shapes   B images, N tokens, D width, H heads, K width per head, C = B K, R rows at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def mixed_by(logits_HNN: Tensor, v_BND: Tensor) -> Tensor:
    """Each head's share of the values, mixed by the softmax of its logits; (B, N, D)."""
    return _as_tokens(logits_HNN.softmax(-1) @ _as_columns(v_BND, len(logits_HNN)), len(v_BND))


def mixed_by_rows(logits: Iterable[Tensor], v_BND: Tensor, heads: int) -> Tensor:
    """The same where logits come R rows of all heads at a time, (H, R, N): few weights do not leave the caches.

    Without gradients: they would have to go back through every piece of the output by itself.
    """
    v_HNC = _as_columns(v_BND, heads)
    # pieces joined in the end would each lie where the next logits could have been, and take as much memory as all
    out_HNC, start = torch.empty_like(v_HNC), 0
    for rows_HRN in logits:
        end = start + rows_HRN.shape[1]
        out_HNC[:, start:end] = rows_HRN.softmax(-1) @ v_HNC
        start = end
    return _as_tokens(out_HNC, len(v_BND))


def _as_columns(v_BND: Tensor, heads: int) -> Tensor:
    """Images beside one another as columns (H, N, C): one product per head, and no copy of the weights per image."""
    return v_BND.unflatten(-1, (heads, -1)).permute(2, 1, 0, 3).flatten(2)


def _as_tokens(out_HNC: Tensor, images: int) -> Tensor:
    return out_HNC.unflatten(-1, (images, -1)).permute(2, 1, 0, 3).flatten(2)
