"""Attention as a product of features: what every mixer of the family "kernel attention" does with its features.

Shapes   B images, N tokens, H heads, K width per head, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kernelized(
    q_BHNF: Tensor, k_BHNF: Tensor, v_BHNK: Tensor, *, q_shift: float = 0.0, k_shift: float = 0.0, eps: float = 0.0
) -> Tensor:
    """Values weighted by (q + q_shift) . (k + k_shift), a query's weights summing to 1; (B, H, N, K).

    Keys meet values first, so the cost is linear in N. Features must not be negative; `eps` is added to the
    sum of the weights that divides. Shifts are added to sums over tokens or features: they cost no copy of all.
    """
    K = v_BHNK.shape[-1]
    heard_BHFK, key_BHF1 = k_BHNF.mT @ v_BHNK, k_BHNF.sum(-2).unsqueeze(-1)
    if k_shift:
        heard_BHFK = heard_BHFK + k_shift * v_BHNK.sum(-2, keepdim=True)
        key_BHF1 = key_BHF1 + k_shift * k_BHNF.shape[-2]
    # one product says what a query hears and by how much to divide it: its features are read once, not twice
    sums_BHFC = torch.cat((heard_BHFK, key_BHF1.to(heard_BHFK.dtype)), dim=-1)
    both_BHNC = q_BHNF @ sums_BHFC
    if q_shift:
        both_BHNC = both_BHNC + q_shift * sums_BHFC.sum(-2, keepdim=True)
    total_BHN1 = both_BHNC[..., K:]
    return both_BHNC[..., :K] / (total_BHN1 + eps if eps else total_BHN1)


def kernelized_macs(tokens: int, heads: int, head_dim: int, features: int) -> int:
    """Multiply-accumulates of `kernelized` for one image."""
    return tokens * heads * features * (2 * head_dim + 1)
