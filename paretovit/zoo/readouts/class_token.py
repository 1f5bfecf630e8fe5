"""The class token speaks for the image (Dosovitskiy et al. 2020, eq. 4)."""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.readouts import Readout
from paretovit.zoo.tokens import Tokens


class ClassToken(Readout):
    """The first token, after the final norm."""

    prefix = 1

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.x[:, 0]
