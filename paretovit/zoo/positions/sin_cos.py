"""Fixed sines and cosines of the row and the column.

Paper    Vaswani et al. 2017, sec. 3.5, on two axes as in Chen et al. 2021, "An Empirical Study of Training
         Self-Supervised Vision Transformers", sec. 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.positions import Position
from paretovit.zoo.tokens import Layout


class SinCos(Position):
    """A quarter of the width each for sine and cosine of the column, then of the row; nothing for class tokens.

    Raises `UserError` for a width that 4 does not divide.
    """

    table: Tensor

    def __init__(self, dim: int, layout: Layout, *, temperature: float = 10_000.0) -> None:
        super().__init__(dim, layout)
        if dim % 4 or layout.grid is None or len(layout.grid) != 2:
            raise UserError(f"sin-cos positions need a two-axis grid and a width divisible by 4, got width {dim}")
        rows, columns = (torch.arange(side, dtype=torch.float64) for side in layout.grid)
        omega = temperature ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        angles = [axis.flatten()[:, None] * omega for axis in (column, row)]
        table = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
        table = torch.cat((torch.zeros(layout.prefix, dim, dtype=torch.float64), table))
        self.register_buffer("table", table[None].to(torch.get_default_dtype()), persistent=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND + self.table
