"""Every token times what its surroundings say; the map that widens it and the one that narrows it again are one MLP's.

Idea     Attention weighs what tokens say by their context, and so does a product with a convolved context, in one
         branch and without comparing tokens. Wrapped by an MLP's two linear maps, it needs no MLP behind it.
Paper    Ma et al. 2024, "Efficient Modulation for Vision Networks", sec. 3.2.
Shapes   B images, N tokens, D width, R ratio.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, rows_and_columns
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class EfficientModulation(Mixer):
    """p(gelu(v(x)) * context(x)), v widening each token `ratio` times and p narrowing it again.

    The context is a linear map, a `kernel` x `kernel` depthwise convolution, GELU and a linear map; each of its D
    channels serves `ratio` of the wide ones. Even blocks of a stage do not widen, and then v's result stays as it is,
    without GELU. `heads` is not used. Made to stand alone: give the stage `mlp=None`.

    Raises `UserError` for an even kernel and a ratio below 1.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    needs_grid = True
    alternates = True
    trials = ({"ratio": 2, "kernel": 3},)

    def __init__(
        self, dim: int, heads: int, layout: Layout, *, ratio: int = 6, kernel: int = 7, block: int = 0
    ) -> None:
        super().__init__(dim, heads, layout)
        if kernel < 1 or kernel % 2 == 0 or ratio < 1:
            raise UserError(f"efficient_modulation: kernel must be odd, ratio at least 1, got {kernel} and {ratio}")
        self.grid, self.kernel = rows_and_columns(layout), kernel
        self.ratio = ratio if block % 2 else 1
        self.widen = nn.Linear(dim, self.ratio * dim)
        self.enter = nn.Linear(dim, dim)
        self.conv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.leave = nn.Linear(dim, dim)
        self.narrow = nn.Linear(self.ratio * dim, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        context_BND = self.leave(as_tokens(F.gelu(self.conv(as_map(self.enter(tokens.x), self.grid)))))
        wide = self.widen(tokens.x)
        if self.ratio == 1:
            return self.narrow(wide * context_BND)
        wide_BNRD = F.gelu(wide).unflatten(-1, (self.ratio, self.dim))
        return self.narrow((wide_BNRD * context_BND.unsqueeze(2)).flatten(2))

    def reference(self, tokens: Tokens) -> Tensor:
        (rows, columns), half = self.grid, self.kernel // 2

        def gelu(x: Tensor) -> Tensor:
            return x * 0.5 * (1 + (x / 2**0.5).erf())

        entered, seen = self.enter(tokens.x), []
        for r in range(rows):
            for c in range(columns):
                around = self.conv.get_parameter("bias").expand_as(entered[:, 0])
                for y in range(max(r - half, 0), min(r + half + 1, rows)):
                    for x in range(max(c - half, 0), min(c + half + 1, columns)):
                        tap = self.conv.weight[:, 0, y - r + half, x - c + half]
                        around = around + tap * entered[:, y * columns + x]
                seen.append(gelu(around))
        context = self.leave(torch.stack(seen, dim=1))
        wide = self.widen(tokens.x)
        return self.narrow((wide if self.ratio == 1 else gelu(wide)) * torch.cat([context] * self.ratio, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.patches, self.dim
        return 2 * n * d * d * (self.ratio + 1) + self.kernel**2 * n * d
