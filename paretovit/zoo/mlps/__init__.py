"""The part of a block in which every token is worked on by itself. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from paretovit.zoo.tokens import Layout, Tokens


class TokenMlp(nn.Module, ABC):
    """Works on tokens one by one: (B, N, D) to (B, N, D), without the residual and the norm around it.

    A subclass takes `(dim, layout, *, its options)` and states

    family   its class in the taxonomy
    alone    False if what becomes of a token depends on which others there are
    enters   the name of the one linear map that alone takes its tokens, so that a norm can be folded into it
    """

    family: ClassVar[str]
    alone: ClassVar[bool] = True
    enters: ClassVar[str] = ""

    def __init__(self, dim: int, layout: Layout) -> None:
        super().__init__()
        self.dim, self.layout = dim, layout

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """The new values (B, N, D); a named auxiliary loss may be put into `tokens.aux`."""

    @abstractmethod
    def reference(self, tokens: Tokens) -> Tensor:
        """The same result in the plainest code there is; only tests call it, in float64."""

    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates for one image at the layout it was built for; closed form."""
