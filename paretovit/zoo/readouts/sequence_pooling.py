"""Tokens weighted by how much each has to say.

Paper    Hassani et al. 2021, "Escaping the Big Data Paradigm with Compact Transformers", sec. 3.2, eqs. 5 to 7.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from paretovit.zoo.mixers.attention import logit_bias
from paretovit.zoo.readouts import Readout
from paretovit.zoo.tokens import Layout, Tokens


class SequencePooling(Readout):
    """The mean of the tokens under weights that a linear map of each token gives; no class token is needed."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.weigh = nn.Linear(dim, 1)

    def forward(self, tokens: Tokens) -> Tensor:
        logits_B1N, bias = self.weigh(tokens.x).mT, logit_bias(tokens)
        weight_B1N = (logits_B1N if bias is None else logits_B1N + bias.squeeze(1)).softmax(-1)
        return (weight_B1N @ tokens.x).squeeze(1)

    def macs(self, layout: Layout) -> int:
        return 2 * layout.num_tokens * self.dim
