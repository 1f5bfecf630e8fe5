"""Between stages: from the tokens and the width of one stage to those of the next. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from paretovit.errors import UserError
from paretovit.zoo.tokens import Grid, Layout, Tokens


class Between(nn.Module, ABC):
    """A subclass takes `(dim_in, dim_out, layout, *, its options)`, `layout` being that of the tokens it will see."""

    def __init__(self, dim_in: int, dim_out: int, layout: Layout) -> None:
        super().__init__()
        self.dim_in, self.dim_out, self.layout = dim_in, dim_out, layout

    @abstractmethod
    def after(self) -> Layout:
        """The layout of the tokens that it returns."""

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tokens:
        """The tokens of the next stage, `dim_out` wide."""

    def macs(self) -> int:
        """Multiply-accumulates for one image; closed form."""
        return 0


def check_map(name: str, layout: Layout, *, prefix: bool) -> Grid:
    """The grid of the tokens. Raises `UserError` where there is none, or class tokens that `prefix` does not allow."""
    if layout.grid is None or len(layout.grid) != 2:
        raise UserError(f"{name} needs tokens on a grid of rows and columns; it cannot follow a method that moves them")
    if layout.prefix and not prefix:
        raise UserError(f"{name} cannot carry class tokens; give the model the read-out 'mean'")
    return layout.grid
