"""Softmax attention as one operator, for every mixer that ends in it.

Shapes   B images, H heads, N queries, M keys, K width per head, P problems that have nothing to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 128  # keys of a query up to which products beat torch's fused operator on a CPU, with a gradient and without
_WEIGHTS = 2**21  # that are written out at once: 8 MB, about what the caches hold


def attend(
    q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, bias: Tensor | None = None, *, scale: float | None = None
) -> Tensor:
    """softmax(scale q k^T + bias) v, (B, H, N, K); the scale is 1 / sqrt(K) unless given.

    With a bias that takes a gradient every query must hear some key.
    """
    if bias is not None and by_products(q_BHNK, bias):
        return attend_by_products(q_BHNK, k_BHMK, v_BHMK, bias, scale=scale)
    # torch's backward pass of this operator in half precision takes six times as long on a CPU as in single precision
    slow = q_BHNK.device.type == "cpu" and q_BHNK.dtype in (torch.bfloat16, torch.float16) and q_BHNK.requires_grad
    if not slow:
        return F.scaled_dot_product_attention(q_BHNK, k_BHMK, v_BHMK, attn_mask=bias, scale=scale)
    with torch.autocast("cpu", enabled=False):
        q, k, v = q_BHNK.float(), k_BHMK.float(), v_BHMK.float()
        mask = None if bias is None else bias.float()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).to(q_BHNK.dtype)


def attend_among_few(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """`attend` for many problems of perhaps few keys each, (P, .., N, K) and (P, .., M, K), such as clusters.

    The bias is broadcast to the weights, (P, .., N, M). Of few keys so many problems are worked on at once that their
    weights stay in the caches.
    """
    if not has_few_keys(q, k):
        return attend(q, k, v, bias)
    at_once = max(1, _WEIGHTS // math.prod((*q.shape[1:-1], k.shape[-2])))
    if at_once >= len(q):
        return attend_by_products(q, k, v, bias)
    qs, ks, vs = (part.split(at_once) for part in (q, k, v))
    own: Sequence[Tensor | None] = [bias] * len(qs)
    if bias is not None and bias.ndim == q.ndim and len(bias) > 1:
        own = bias.split(at_once)
    return torch.cat([attend_by_products(*part) for part in zip(qs, ks, vs, own, strict=True)])


def has_few_keys(q: Tensor, k: Tensor) -> bool:
    """Whether products written out are sooner done than torch's fused operator, of many problems with these keys each.

    How many there are is not asked, so that an image comes out the same in every batch, with gradients and without.
    """
    return q.device.type == "cpu" and k.shape[-2] <= _FEW and q.dtype == torch.float32


def by_products(q: Tensor, bias: Tensor) -> bool:
    """Whether torch has no fused operator for it: on a CPU, where the bias is to have a gradient."""
    return q.device.type == "cpu" and bias.requires_grad and torch.is_grad_enabled()


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *, scale: float | None = None) -> Tensor:
    """`attend` with its weights written out, in fewer passes over them than torch takes where it does not fuse.

    There may be more dimensions (..) in front of (N, K), to all of which the bias is broadcast.
    """
    with torch.autocast(q.device.type, enabled=False):
        q_, k_, v_ = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (q, k, v))
        # keys are copied row by row; a product of the turned view would copy them element by element
        logits = q_ * (q.shape[-1] ** -0.5 if scale is None else scale) @ k_.contiguous().mT
        if bias is not None:
            logits += bias  # nothing else reads the logits: fresh memory costs more than the sum
        return (logits.softmax(-1) @ v_).to(q.dtype)
