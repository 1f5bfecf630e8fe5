"""Positions: where a token learns its place. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from paretovit.zoo.tokens import Layout


class Position(nn.Module, ABC):
    """Adds places to tokens (B, N, D). A subclass takes `(dim, layout, *, its options)`."""

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__()
        self.dim, self.layout = dim, layout

    @abstractmethod
    def forward(self, x_BND: Tensor) -> Tensor:
        """Tokens that know their place."""
