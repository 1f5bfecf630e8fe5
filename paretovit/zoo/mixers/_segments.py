"""Consecutive tokens summed up as their means, for mixers that compare summaries.

Shapes   B images, N tokens, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_means(x_BHNK: Tensor, segments: int) -> Tensor:
    """Means of consecutive tokens (B, H, segments, K); later segments are longer by one at most."""
    short, num_long = divmod(x_BHNK.shape[2], segments)
    split = (segments - num_long) * short
    means = x_BHNK[:, :, :split].unflatten(2, (-1, short)).mean(3)
    if not num_long:
        return means
    return torch.cat((means, x_BHNK[:, :, split:].unflatten(2, (-1, short + 1)).mean(3)), dim=2)
