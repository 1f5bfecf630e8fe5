"""Attention whose weights do not look at the tokens: learned, as a product of two thin matrices per head.

Paper    Tay et al. 2020, "Synthesizer: Rethinking Self-Attention in Transformer Models", sec. 3.1, eq. 7
         (factorized random).
Shapes   B images, N tokens, D width, H heads, F rank, R rows at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._fixed import mixed_by, mixed_by_rows
from paretovit.zoo.mixers._pieces import AT_ONCE, pays
from paretovit.zoo.tokens import Layout, Tokens


class SynthesizerFactorizedRandom(Mixer):
    """Values mixed by softmax(R1 R2^T), with R1 and R2 (H, N, rank) drawn normal and then trained."""

    family = "fixed attention"
    trials = ({"rank": 3},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, rank: int = 8) -> None:
        super().__init__(dim, heads, layout)
        if rank < 1:
            raise UserError(f"synthesizer_factorized_random: rank must be at least 1, got {rank}")
        self.head_dim = head_dim_of(dim, heads, None)
        self.rank = rank
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.left = nn.Parameter(torch.randn(heads, layout.num_tokens, rank))
        self.right = nn.Parameter(torch.randn(heads, layout.num_tokens, rank))

    def forward(self, tokens: Tokens) -> Tensor:
        H, N, _ = self.left.shape
        rows, v_BND = max(1, AT_ONCE // (H * N)), self.v(tokens.x)
        if rows >= N or not pays(v_BND):
            return self.proj(mixed_by(self.left @ self.right.mT, v_BND))
        logits = (rows_HRF @ self.right.mT for rows_HRF in self.left.split(rows, dim=1))
        return self.proj(mixed_by_rows(logits, v_BND, H))

    def reference(self, tokens: Tokens) -> Tensor:
        values = self.v(tokens.x)
        outs = []
        for head in range(self.heads):
            logits = sum(self.left[head, :, f, None] * self.right[head, None, :, f] for f in range(self.rank))
            assert isinstance(logits, Tensor)
            weights = logits.exp() / logits.exp().sum(1, keepdim=True)
            outs.append(weights @ values[..., head * self.head_dim : (head + 1) * self.head_dim])
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        return 2 * n * d * d + n * n * d + n * n * self.rank * self.heads
