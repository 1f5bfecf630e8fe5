"""Tokens mixed by a Fourier transform: nothing is learned.

Paper    Lee-Thorp et al. 2021, "FNet: Mixing Tokens with Fourier Transforms", eq. 3.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Tokens


class Fnet(Mixer):
    """The real part of the Fourier transform over channels and tokens, class tokens among them.

    Not normalised, as in the paper: values grow by about sqrt(N D) in every block, and the norm in front of the
    next one takes that away again; LayerNorm makes the rest of the block small beside it at first. `heads` is
    not used.
    """

    family = "non-attention shuffling"

    def forward(self, tokens: Tokens) -> Tensor:
        D = tokens.x.shape[-1]
        # no Fourier transform in half precision but for sizes that are powers of two
        x_BND = tokens.x.float() if tokens.x.dtype in (torch.bfloat16, torch.float16) else tokens.x
        left = torch.fft.rfft2(x_BND, dim=(1, 2)).real
        # of real values, frequency (n, d) and frequency (-n, -d) have the same real part
        right = left[:, :, 1 : (D + 1) // 2].flip(1, 2).roll(1, dims=1)
        return torch.cat((left, right), dim=-1).to(tokens.x.dtype)

    def reference(self, tokens: Tokens) -> Tensor:
        _, N, D = tokens.x.shape
        out = torch.zeros_like(tokens.x)
        n, d = torch.arange(N).to(out)[:, None], torch.arange(D).to(out)[None, :]
        for i in range(N):
            for j in range(D):
                wave = torch.cos(2 * torch.pi * (i * n / N + j * d / D))
                out[:, i, j] = (tokens.x * wave).sum((1, 2))
        return out

    def macs(self) -> int:
        size = self.layout.num_tokens * self.dim
        return round(5 * size * math.log2(size) / 2 / 2)  # half of the operations, and half of that for real input
