"""No mixing at all: what is left of a block is its residual, its norms and its MLP.

Paper    Yu et al. 2021, "MetaFormer is Actually What You Need for Vision", table 5; Yu et al. 2022, "MetaFormer
         Baselines for Vision", IdentityFormer.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Tokens


class Identity(Mixer):
    """Tokens as they came. Only a read-out, or a method that shortens the sequence, brings them together."""

    family = "non-attention shuffling"
    mixes = False

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.x

    def reference(self, tokens: Tokens) -> Tensor:
        return tokens.x.clone()

    def macs(self) -> int:
        return 0
