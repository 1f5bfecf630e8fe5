"""Tokens mixed by averaging neighbours: nothing is learned.

Paper    Yu et al. 2021, "MetaFormer is Actually What You Need for Vision", eq. 4.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, rows_and_columns
from paretovit.zoo.tokens import Layout, Tokens


class Pooling(Mixer):
    """The mean of the `size` x `size` tokens around a token, less the token itself.

    At the edge of the grid it is the mean of those that are there. The token is taken off because the residual
    around the mixer adds it again. `heads` is not used.
    """

    family = "non-attention shuffling"
    takes_prefix = False
    needs_grid = True
    trials = ({"size": 5},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, size: int = 3) -> None:
        super().__init__(dim, heads, layout)
        if size < 1 or size % 2 == 0:
            raise UserError(f"pooling: size must be odd, got {size}")
        self.size, self.grid = size, rows_and_columns(layout)

    def forward(self, tokens: Tokens) -> Tensor:
        image = tokens.x.mT.unflatten(2, self.grid)
        pooled = F.avg_pool2d(image, self.size, stride=1, padding=self.size // 2, count_include_pad=False)
        return pooled.flatten(2).mT - tokens.x

    def reference(self, tokens: Tokens) -> Tensor:
        rows, columns = self.grid
        half = self.size // 2
        outs = []
        for r in range(rows):
            for c in range(columns):
                around = [
                    tokens.x[:, i * columns + j]
                    for i in range(max(r - half, 0), min(r + half + 1, rows))
                    for j in range(max(c - half, 0), min(c + half + 1, columns))
                ]
                outs.append(sum(around) / len(around) - tokens.x[:, r * columns + c])
        return torch.stack(outs, dim=1)

    def macs(self) -> int:
        return 0  # sums and no products
