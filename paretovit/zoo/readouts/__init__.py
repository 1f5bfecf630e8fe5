"""Read-outs: from the tokens of the last block to one vector per image. One file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from paretovit.zoo.tokens import Layout, Tokens


class Readout(nn.Module, ABC):
    """Tokens to features (B, D). A subclass takes `(dim, *, its options)` and states

    prefix       class tokens that it wants in front of the patches
    norm_first   True if the final norm is over all tokens before the read-out, False if over its result
    """

    prefix: ClassVar[int] = 0
    norm_first: bool = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """One vector per image (B, D)."""

    def macs(self, layout: Layout) -> int:
        """Multiply-accumulates for one image of tokens that lie as told; closed form."""
        return 0
