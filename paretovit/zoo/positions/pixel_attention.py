"""Tokens weighed by what their neighbours are.

Paper    Zhang and Yang 2021, "ResT: An Efficient Transformer for Visual Recognition", sec. 3.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.positions import Position
from paretovit.zoo.tokens import Layout, as_map, as_tokens


class PixelAttention(Position):
    """Every channel of a token times the sigmoid of a 3 x 3 depthwise convolution around it.

    The zeros around the image tell where its edges are, so images of any size have places. Class tokens are left as
    they are. Raises `UserError` for tokens off the grid.
    """

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__(dim, layout)
        if layout.grid is None or len(layout.grid) != 2:
            raise UserError(f"pixel_attention needs tokens on a grid of rows and columns, got {layout.grid}")
        self.grid = layout.grid
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        front, patches = x_BND[:, : self.layout.prefix], x_BND[:, self.layout.prefix :]
        weighed = patches * as_tokens(self.conv(as_map(patches, self.grid))).sigmoid()
        return torch.cat((front, weighed), dim=1) if self.layout.prefix else weighed

    def macs(self) -> int:
        return self.layout.patches * self.conv.weight.numel()
