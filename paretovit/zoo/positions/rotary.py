"""Queries and keys turned by their places; nothing is learned, nothing is added to the tokens.

Paper    Su et al. 2021, "RoFormer", sec. 3.4, on one axis, the token's number in the sequence, as in Jeevan and
         Sethi 2022, "Resource-efficient Hybrid X-formers for Vision"; on the two of the grid as in Fang et al. 2023,
         "EVA-02", sec. 2.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.positions import Position
from paretovit.zoo.rotation import Rotation, places
from paretovit.zoo.tokens import Layout


class Rotary(Position):
    """Rotary positions on one axis (`axes=1`) or on rows and columns (`axes=2`), for mixers that have keys.

    Raises `UserError` for other numbers of axes.
    """

    turns = True

    def __init__(self, dim: int, layout: Layout, *, axes: int = 1, base: float = 10_000.0) -> None:
        super().__init__(dim, layout)
        if axes not in (1, 2):
            raise UserError(f"rotary: axes must be 1 (place in the sequence) or 2 (row and column), got {axes}")
        self.axes, self.base = axes, base

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND

    def places(self, layout: Layout) -> Tensor:
        return places(layout, self.axes).to(torch.get_default_dtype())

    def rotation(self, head_dim: int, layout: Layout, front: int) -> Rotation:
        return Rotation(head_dim, layout, axes=self.axes, base=self.base, front=front)
