"""The class token and a second one, which learns from a teacher, speak for the image together.

Paper    Touvron et al. 2020, "Training data-efficient image transformers" (DeiT), sec. 4.
Differs  In training, too, the logits are the mean of the two; `head.each` tells them apart.
"""

from __future__ import annotations

from torch import Tensor

from paretovit.zoo.readouts import Readout
from paretovit.zoo.tokens import Tokens


class Distilled(Readout):
    """The first two tokens, after the final norm, each with a classifier of its own."""

    prefix = 2
    vectors = 2

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.x[:, :2]
