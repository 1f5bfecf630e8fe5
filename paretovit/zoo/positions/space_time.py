"""A learned vector per place of a frame, and one per frame.

Paper    Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (TimeSformer):
         one vector for each pair of place and frame; two that are added in the authors' code, as here.
Shapes   B videos, T frames, N patches of all frames, S patches of one, D width, P class tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.positions import Position
from paretovit.zoo.tokens import Layout


class SpaceTime(Position):
    """A table of places (1, P + S, D), that of class tokens first, and one of frames (1, T, 1, D), for patches alone.

    Places are drawn normal with deviation 0.02; frames start at zero, alike.

    Raises `UserError` for tokens without time.
    """

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__(dim, layout)
        if layout.grid is None or len(layout.grid) != 3:
            raise UserError("space_time: positions in time need a video; give the model the stem 'video'")
        self.frames, per_frame = layout.grid[0], layout.patches // layout.grid[0]
        self.space = nn.Parameter(torch.empty(1, layout.prefix + per_frame, dim))
        self.time = nn.Parameter(torch.zeros(1, self.frames, 1, dim))
        nn.init.trunc_normal_(self.space, std=0.02)

    def forward(self, x_BND: Tensor) -> Tensor:
        P = self.layout.prefix
        patches = x_BND[:, P:].unflatten(1, (self.frames, -1)) + self.space[:, P:].unsqueeze(1) + self.time
        return torch.cat((x_BND[:, :P] + self.space[:, :P], patches.flatten(1, 2)), dim=1)
