"""Attention as a product of features: what every mixer of the family "kernel attention" does with its features.

Shapes   B images, N tokens, H heads, K width per head, F features.
"""

from __future__ import annotations

from torch import Tensor


def kernelized(q_BHNF: Tensor, k_BHNF: Tensor, v_BHNK: Tensor, *, shift: float = 0.0, eps: float = 0.0) -> Tensor:
    """Values weighted by q . (k + shift) over the keys, the weights of a query summing to 1; (B, H, N, K).

    Keys meet values first, so the cost is linear in N. Features must not be negative; `eps` is added to the
    sum of the weights that divides.
    """
    heard_BHFK, key_BHF1 = k_BHNF.mT @ v_BHNK, k_BHNF.sum(-2).unsqueeze(-1)
    if shift:  # added to sums over the tokens, it costs no copy of all the features
        heard_BHFK = heard_BHFK + shift * v_BHNK.sum(-2, keepdim=True)
        key_BHF1 = key_BHF1 + shift * k_BHNF.shape[-2]
    total_BHN1 = q_BHNF @ key_BHF1
    return q_BHNF @ heard_BHFK / (total_BHN1 + eps if eps else total_BHN1)


def kernelized_macs(tokens: int, heads: int, head_dim: int, features: int) -> int:
    """Multiply-accumulates of `kernelized` for one image."""
    return tokens * heads * features * (2 * head_dim + 1)
