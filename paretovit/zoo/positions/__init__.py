"""Positions: where a token learns its place. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout


class Position(nn.Module, ABC):
    """Adds places to tokens (B, N, D), or turns queries and keys by them.

    A subclass takes `(dim, layout, *, its options)` and states

    turns   True if it turns queries and keys; every mixer of the model must then have them
    """

    turns: ClassVar[bool] = False

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__()
        self.dim, self.layout = dim, layout

    @abstractmethod
    def forward(self, x_BND: Tensor) -> Tensor:
        """Tokens that know their place."""

    def macs(self) -> int:
        """Multiply-accumulates for one image; closed form."""
        return 0

    def places(self, layout: Layout) -> Tensor | None:
        """Coordinates (N, axes) that tokens of a layout carry along, if it turns by them."""
        return None

    def rotation(self, head_dim: int, layout: Layout, front: int) -> Rotation | None:
        """What turns the queries and keys of a mixer for tokens of a layout, if it turns."""
        return None
