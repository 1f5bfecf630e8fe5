"""Softmax attention as one operator, for every mixer that ends in it.

Shapes   B images, H heads, N queries, M keys, K width per head.
"""

from __future__ import annotations

from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.zoo.mixers._chosen import exactly

# The device that tensors on "meta" stand for, where it matters what would happen on it.
meta_is: ContextVar[str] = ContextVar("meta_is", default="meta")

MOST_KEYS = 128
FEWEST_PROBLEMS = 64
MOST_WEIGHTS = 2**22  # with twice as many, memory comes fresh from the system each time


def attend(
    q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, bias: Tensor | None = None, *, scale: float | None = None
) -> Tensor:
    """softmax(scale q k^T + bias) v, (B, H, N, K); the scale is 1 / sqrt(K) unless given.

    With a bias that takes a gradient every query must hear some key.
    """
    if by_products(q_BHNK, k_BHMK, bias):
        return attend_by_products(q_BHNK, k_BHMK, v_BHMK, bias, scale=scale)
    # torch's backward pass of this operator in half precision takes six times as long on a CPU as in single precision
    slow = q_BHNK.device.type == "cpu" and q_BHNK.dtype in (torch.bfloat16, torch.float16) and q_BHNK.requires_grad
    if not slow:
        return F.scaled_dot_product_attention(q_BHNK, k_BHMK, v_BHMK, attn_mask=bias, scale=scale)
    with torch.autocast("cpu", enabled=False):
        q, k, v = q_BHNK.float(), k_BHMK.float(), v_BHMK.float()
        mask = None if bias is None else bias.float()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).to(q_BHNK.dtype)


def by_products(q: Tensor, k: Tensor, bias: Tensor | None) -> bool:
    """Whether the weights are to be written out, for queries (.., N, K) and keys (.., M, K).

    On a CPU torch has no fused operator whose bias has a gradient. And the one it has goes through small problems one
    by one: where there are many, such as windows of a grid, products over all of them are the faster way (LOG.md).
    """
    kind = q.device.type
    if (meta_is.get() if kind == "meta" else kind) != "cpu":
        return False
    if bias is not None and bias.requires_grad and torch.is_grad_enabled():
        return True
    problems, keys = q.shape[:-2].numel(), k.shape[-2]
    many_small = problems >= FEWEST_PROBLEMS and keys <= MOST_KEYS and problems * q.shape[-2] * keys <= MOST_WEIGHTS
    # what is compiled or exported keeps the operator, which every compiler knows how to fuse
    return many_small and q.dtype == torch.float32 and not torch.compiler.is_compiling()


def attend_by_products(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, scale: float | None = None
) -> Tensor:
    """`attend` with its weights written out, in fewer passes over them than torch takes where it does not fuse.

    There may be more dimensions (..) in front of (N, K), to all of which the bias is broadcast.
    """
    with exactly(q):
        q_, k_, v_ = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (q, k, v))
        # keys are copied row by row; a product of the turned view would copy them element by element
        logits = q_ * (q.shape[-1] ** -0.5 if scale is None else scale) @ k_.contiguous().mT
        if bias is not None:
            logits += bias  # nothing else reads the logits: fresh memory costs more than the sum
        return (logits.softmax(-1) @ v_).to(q.dtype)
