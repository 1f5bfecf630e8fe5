"""Between stages four neighbours become one token: laid end to end, normed, and mapped to the next width.

Paper    Liu et al. 2021, "Swin Transformer", sec. 3.1.
Shapes   B images, N tokens, D width, M tokens that are left.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.zoo.between import Between, check_map
from paretovit.zoo.norms.layer_norm import LayerNorm
from paretovit.zoo.tokens import Grid, Layout, Tokens


class PatchMerging(Between):
    """2 x 2 tokens to one; a side that is odd gets a row of zeros more, as in Swin's detectors.

    Raises `UserError` for class tokens and tokens off the grid.
    """

    def __init__(self, dim_in: int, dim_out: int, layout: Layout) -> None:
        super().__init__(dim_in, dim_out, layout)
        self.grid = check_map("patch_merging", layout, prefix=False)
        self.norm = LayerNorm(4 * dim_in)
        self.reduce = nn.Linear(4 * dim_in, dim_out, bias=False)

    def after(self) -> Layout:
        return Layout.of_grid(tuple(-(-side // 2) for side in self.grid))

    def forward(self, tokens: Tokens) -> Tokens:
        return Tokens(self.reduce(self.norm(fours(tokens.x, self.grid))), grid=self.after().grid, aux=tokens.aux)

    def macs(self) -> int:
        return self.after().patches * self.reduce.weight.numel()


def fours(x_BND: Tensor, grid: Grid) -> Tensor:
    """The tokens of every 2 x 2 patch end to end, column after column, (B, M, 4 D)."""
    x = x_BND.unflatten(1, grid)
    if grid[0] % 2 or grid[1] % 2:
        x = F.pad(x, (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
    x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, rows, down, columns, right, D)
    return x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
