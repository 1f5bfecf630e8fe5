"""Two linear maps with GELU between them.

Paper    Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", sec. 3.1.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.zoo.mlps import TokenMlp
from paretovit.zoo.recompute import recomputed
from paretovit.zoo.tokens import Layout, Tokens


class Mlp(TokenMlp):
    """D to `hidden` (or `ratio` x D), GELU, back to D."""

    family = "baseline"
    enters = "fc1"

    def __init__(self, dim: int, layout: Layout, *, ratio: float = 4.0, hidden: int | None = None) -> None:
        super().__init__(dim, layout)
        self.hidden = round(dim * ratio) if hidden is None else hidden
        self.fc1 = nn.Linear(dim, self.hidden)
        self.fc2 = nn.Linear(self.hidden, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        inner = self.fc1(tokens.x)
        active, kept = F.gelu(inner), inner.detach()
        with recomputed(active, lambda: F.gelu(kept)):  # a fifth of what a block keeps for the backward pass
            return self.fc2(active)

    def reference(self, tokens: Tokens) -> Tensor:
        inner = tokens.x @ self.fc1.weight.T + self.fc1.bias
        gelu = inner * 0.5 * (1 + (inner / 2**0.5).erf())
        return gelu @ self.fc2.weight.T + self.fc2.bias

    def macs(self) -> int:
        return 2 * self.layout.num_tokens * self.dim * self.hidden
