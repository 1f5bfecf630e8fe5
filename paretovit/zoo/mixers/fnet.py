"""Tokens mixed by a Fourier transform: nothing is learned.

Paper    Lee-Thorp et al. 2021, "FNet: Mixing Tokens with Fourier Transforms", eq. 3.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Layout, Tokens


class Fnet(Mixer):
    """The real part of the Fourier transform over channels and tokens, class tokens among them.

    `norm` is torch's word for the scale: "backward", none, as in the paper, whose blocks end in a norm; "ortho"
    divides by sqrt(N D), so that values keep their size. `heads` is not used.
    """

    family = "non-attention shuffling"
    trials = ({"norm": "ortho"},)

    def __init__(
        self, dim: int, heads: int, layout: Layout, *, norm: Literal["backward", "ortho"] = "backward"
    ) -> None:
        super().__init__(dim, heads, layout)
        if norm not in ("backward", "ortho"):
            raise UserError(f"fnet: norm must be 'backward' (none) or 'ortho', got {norm!r}")
        self.norm = norm

    def forward(self, tokens: Tokens) -> Tensor:
        # no Fourier transform in half precision but for sizes that are powers of two
        x_BND = tokens.x.float() if tokens.x.dtype in (torch.bfloat16, torch.float16) else tokens.x
        return _real_part(x_BND, self.norm).to(tokens.x.dtype)

    def reference(self, tokens: Tokens) -> Tensor:
        _, N, D = tokens.x.shape
        out = torch.zeros_like(tokens.x)
        n, d = torch.arange(N).to(out)[:, None], torch.arange(D).to(out)[None, :]
        for i in range(N):
            for j in range(D):
                wave = torch.cos(2 * torch.pi * (i * n / N + j * d / D))
                out[:, i, j] = (tokens.x * wave).sum((1, 2))
        return out / (N * D) ** 0.5 if self.norm == "ortho" else out

    def macs(self) -> int:
        size = self.layout.num_tokens * self.dim
        return round(5 * size * math.log2(size) / 2 / 2)  # half of the operations, and half of that for real input


def _real_part(x_BND: Tensor, norm: str) -> Tensor:
    """Real part of the Fourier transform of real tokens over both dimensions."""
    if x_BND.requires_grad and torch.is_grad_enabled():
        return _RealPart.apply(x_BND, norm)
    left = torch.fft.rfft2(x_BND, dim=(1, 2), norm=norm).real
    # of real values, frequency (n, d) and frequency (-n, -d) have the same real part
    right = left[:, :, 1 : (x_BND.shape[-1] + 1) // 2].flip(1, 2).roll(1, dims=1)
    return torch.cat((left, right), dim=-1)


class _RealPart(torch.autograd.Function):
    """`_real_part` with gradients.

    As a matrix it is symmetric, cos(2 pi (n n' / N + d d' / D)), so gradients go back by the same transform; torch
    would make complex ones of all frequencies, twice as many values, and transform those.
    """

    generate_vmap_rule = True  # so that torch.func, as for gradients image by image, goes through it

    @staticmethod
    def forward(x_BND: Tensor, norm: str) -> Tensor:
        return _real_part(x_BND, norm)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
        ctx.norm = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _real_part(grads[0], ctx.norm), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _real_part(tangents[0], ctx.norm)
