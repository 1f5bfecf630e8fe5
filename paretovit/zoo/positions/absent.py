"""No positions: the mixer, or nobody, knows where a token lies."""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.positions import Position


class Absent(Position):
    """Nothing is added."""

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND
