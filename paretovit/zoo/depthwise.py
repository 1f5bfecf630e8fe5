"""Strided depthwise convolutions of token maps, past a fault of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def strided(conv: nn.Conv2d, map_BDHW: Tensor) -> Tensor:
    """`conv(map_BDHW)`.

    On a CPU in bfloat16 the gradient of such a convolution's weight holds memory that nobody has written, not a
    number now and then, where the map lies channels last, as tokens do, and is narrower than the kernel (torch 2.14).
    A map that small is copied.
    """
    if map_BDHW.shape[-1] < conv.kernel_size[1]:
        map_BDHW = map_BDHW.clone(memory_format=torch.contiguous_format)
    return conv(map_BDHW)
