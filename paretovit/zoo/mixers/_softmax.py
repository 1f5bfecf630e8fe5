"""Softmax attention as one operator, for every mixer that ends in it.

Shapes   B images, H heads, N queries, M keys, K width per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, bias: Tensor | None = None, *, scale: float | None = None
) -> Tensor:
    """softmax(scale q k^T + bias) v, (B, H, N, K); the scale is 1 / sqrt(K) unless given."""
    # torch's backward pass of this operator in half precision takes six times as long on a CPU as in single precision
    slow = q_BHNK.device.type == "cpu" and q_BHNK.dtype in (torch.bfloat16, torch.float16) and q_BHNK.requires_grad
    if not slow:
        return F.scaled_dot_product_attention(q_BHNK, k_BHMK, v_BHMK, attn_mask=bias, scale=scale)
    with torch.autocast("cpu", enabled=False):
        q, k, v = q_BHNK.float(), k_BHMK.float(), v_BHMK.float()
        mask = None if bias is None else bias.float()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).to(q_BHNK.dtype)
