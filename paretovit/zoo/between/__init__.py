"""Between stages: from the tokens and the width of one stage to those of the next. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from paretovit.zoo.tokens import Layout, Tokens


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
