"""Every token times a summary of what lies around it, near and far.

Idea     Depthwise convolutions on top of each other see ever wider surroundings; each token weighs these levels and
         the mean of the grid for itself, and multiplies by the sum. No two tokens are ever compared.
Paper    Yang et al. 2022, "Focal Modulation Networks", sec. 3.2, eqs. 4 to 7.
Shapes   B images, N tokens, D width, L levels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, rows_and_columns
from paretovit.zoo.tokens import Layout, Tokens


class Focal(Mixer):
    """Focal modulation with `levels` convolutions, of kernel `window` and two more at every level.

    The mean of the last level, over the whole grid, is one level more. `heads` is not used. Linear maps are 1 x 1
    convolutions, as timm has them: tokens are an image with its channels last, and oneDNN is faster at these than MKL.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    needs_grid = True
    trials = ({"levels": 1, "window": 5},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, levels: int = 3, window: int = 3) -> None:
        super().__init__(dim, heads, layout)
        if levels < 1 or window < 1 or window % 2 == 0:
            raise UserError(f"focal: levels must be at least 1 and window odd, got {levels=}, {window=}")
        self.grid, self.levels = rows_and_columns(layout), levels
        self.kernels = [window + 2 * level for level in range(levels)]
        self.f = nn.Conv2d(dim, 2 * dim + levels + 1, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False) for kernel in self.kernels
        )
        self.h = nn.Conv2d(dim, dim, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, tokens: Tokens) -> Tensor:
        image = tokens.x.mT.unflatten(2, self.grid)  # channels last, as the tokens lie
        query, level, gates = self.f(image).split((self.dim, self.dim, self.levels + 1), dim=1)
        *gate_of, gate_of_mean = gates.split(1, dim=1)
        summary: Tensor | None = None
        for gate, conv in zip(gate_of, self.convs, strict=True):
            level = F.gelu(conv(level))
            # summed up in place: nothing else reads it, and fresh memory costs more than the sum
            summary = level * gate if summary is None else summary.addcmul_(level, gate)
        assert summary is not None
        mean = F.gelu(level.mean((2, 3), keepdim=True))
        return self.proj(query * self.h(summary.addcmul_(mean, gate_of_mean))).flatten(2).mT

    def reference(self, tokens: Tokens) -> Tensor:
        rows, columns = self.grid
        q, level, gates = _linear(self.f, tokens.x).split((self.dim, self.dim, self.levels + 1), dim=-1)
        total = torch.zeros_like(q)
        for i, conv in enumerate(self.convs):
            half = self.kernels[i] // 2
            seen = []
            for r in range(rows):
                for c in range(columns):
                    around = torch.zeros_like(level[:, 0])
                    for y in range(max(r - half, 0), min(r + half + 1, rows)):
                        for x in range(max(c - half, 0), min(c + half + 1, columns)):
                            tap = conv.weight[:, 0, y - r + half, x - c + half]  # type: ignore[index]
                            around = around + tap * level[:, y * columns + x]
                    seen.append(around * 0.5 * (1 + (around / 2**0.5).erf()))
            level = torch.stack(seen, dim=1)
            total = total + gates[..., i : i + 1] * level
        mean = level.mean(1, keepdim=True)
        total = total + gates[..., -1:] * (mean * 0.5 * (1 + (mean / 2**0.5).erf()))
        return _linear(self.proj, q * _linear(self.h, total))

    def macs(self) -> int:
        n, d = self.layout.patches, self.dim
        convolved = n * d * sum(kernel**2 for kernel in self.kernels)
        return n * d * (2 * d + self.levels + 1) + convolved + 2 * n * d * d


def _linear(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution of single pixels is: a linear map of the last dimension."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)
