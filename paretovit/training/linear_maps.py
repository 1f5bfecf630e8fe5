"""Linear maps of a training step as convolutions, on processors where torch's own products of matrices are slow.

On a CPU torch gives products of matrices in single precision to MKL, which does not use AVX-512 on processors that are
not Intel's, and convolutions to oneDNN, which does. A linear map of N vectors is a 1 x 1 convolution of N pixels; in
channels-last layout both have the same bytes, so that nothing is copied. Sums are taken in another order, so that
outputs and gradients agree to rounding. On a single thread torch gives a 1 x 1 convolution to oneDNN only from 16
images on, so the images of a batch stay what they are. LOG.md has what it brings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from paretovit.devices import processor

FEWEST = 2**23  # multiply-adds of a map; below, what goes round the product costs as much as is won


def fast_linear_maps(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """Linear maps are done by oneDNN while this is entered, forward and backward, where that is the faster way.

    That is in float32 on x86 processors of AMD with AVX-512. Elsewhere nothing changes. The same machine always takes
    the same way, so that a run that goes on after an interruption is the run without one.
    """
    slow = (
        device.type == "cpu"
        and dtype == "float32"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AMD" in processor()
    )
    return ByConvolution() if slow else nullcontext()


class ByConvolution(TorchFunctionMode):
    """Every large linear map of float32 tensors on the CPU is a convolution."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and _fits(*args):
            return convolved(*args)
        return func(*args, **(kwargs or {}))


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    plain = type(x) is Tensor and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return plain and x.dim() >= 2 and x.numel() * len(weight) >= FEWEST


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of x (..., D) by a weight (E, D) as a 1 x 1 convolution: (..., E)."""
    pixels = x.reshape(len(x), -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
