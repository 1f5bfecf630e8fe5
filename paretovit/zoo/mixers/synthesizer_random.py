"""Attention whose weights do not look at the tokens: they are learned, one matrix per head.

Paper    Tay et al. 2020, "Synthesizer: Rethinking Self-Attention in Transformer Models", sec. 3.1, eq. 5 (random).
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._fixed import mixed_by
from paretovit.zoo.tokens import Layout, Tokens


class SynthesizerRandom(Mixer):
    """Values mixed by softmax(R), with R (H, N, N) drawn normal and then trained, or left as drawn."""

    family = "fixed attention"
    trials = ({"trained": False},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, trained: bool = True) -> None:
        super().__init__(dim, heads, layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        logits_HNN = torch.randn(heads, layout.num_tokens, layout.num_tokens)
        if trained:
            self.logits = nn.Parameter(logits_HNN)
        else:
            self.register_buffer("logits", logits_HNN)

    def forward(self, tokens: Tokens) -> Tensor:
        return self.proj(mixed_by(self.logits, self.v(tokens.x)))

    def reference(self, tokens: Tokens) -> Tensor:
        values = self.v(tokens.x)
        outs = []
        for head in range(self.heads):
            weights = self.logits[head].exp()
            weights = weights / weights.sum(1, keepdim=True)
            outs.append(weights @ values[..., head * self.head_dim : (head + 1) * self.head_dim])
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        return 2 * n * d * d + n * n * d
