"""Every block sees every token, as in a plain ViT."""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.sequences import Sequence
from paretovit.zoo.tokens import Layout, Tokens


class KeepAll(Sequence):
    """No token is removed or merged."""

    family = "baseline"
    where = "after"

    @classmethod
    def blocks(cls, depth: int) -> tuple[int, ...]:
        return ()

    def after(self) -> Layout:
        return self.layout

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        return tokens
