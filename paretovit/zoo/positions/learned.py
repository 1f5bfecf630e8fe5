"""A learned vector per place.

Paper    Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", eq. 1; without a vector for the class
         token as in Touvron et al. 2022, "DeiT III", sec. 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.positions import Position
from paretovit.zoo.tokens import Layout


class Learned(Position):
    """A table (1, N, D), added once; `prefix=False` leaves the class tokens without a place.

    Drawn normal with deviation `std`.
    """

    def __init__(self, dim: int, layout: Layout, *, prefix: bool = True, std: float = 0.02) -> None:
        super().__init__(dim, layout)
        self.skipped = 0 if prefix else layout.prefix
        self.table = nn.Parameter(torch.empty(1, layout.num_tokens - self.skipped, dim))
        nn.init.normal_(self.table, std=std)

    def forward(self, x_BND: Tensor) -> Tensor:
        if not self.skipped:
            return x_BND + self.table
        return torch.cat((x_BND[:, : self.skipped], x_BND[:, self.skipped :] + self.table), dim=1)
