"""Linear attention with as many heads as there are channels.

Idea     A head of one channel needs no product of queries and keys: what keys and values say together is one number
         per channel, summed over all tokens, and each query takes its share of it.
Paper    Bolya et al. 2022, "Hydra Attention: Efficient Attention with Many Heads", eqs. 7 to 9 (cosine kernel).
Differs  Only a query or key of zeros is treated otherwise: it says nothing, where the paper divides by its length, 0.
Shapes   B images, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Layout, Tokens


class Hydra(Mixer):
    """Every channel of a token takes, in proportion to its query, the sum over all tokens of key times value.

    Queries and keys have length 1, over all channels. Weights do not sum to 1. The paper replaces attention in the
    last blocks of a ViT only: give such a model two stages. `heads` is not used.
    """

    family = "kernel attention"

    def __init__(self, dim: int, heads: int, layout: Layout) -> None:
        super().__init__(dim, heads, layout)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        qkv_BNPD = self.qkv(tokens.x).unflatten(-1, (3, self.dim))
        q_BND, k_BND, v_BND = qkv_BNPD.unbind(2)
        length_BNP = torch.linalg.vector_norm(qkv_BNPD[:, :, :2], dim=-1)
        one_over_BNP = length_BNP.clamp(min=torch.finfo(length_BNP.dtype).tiny).reciprocal()
        # lengths of keys are the weights of the sum over tokens, so keys are never written out at length 1
        heard_B1D = one_over_BNP[:, :, 1].unsqueeze(1).to(v_BND.dtype) @ (k_BND * v_BND)
        return self.proj(q_BND * one_over_BNP[:, :, :1].to(v_BND.dtype) * heard_B1D)

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = self.qkv(tokens.x).chunk(3, dim=-1)
        q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
        heads = [q[..., d : d + 1] @ k[..., d : d + 1].mT @ v[..., d : d + 1] for d in range(self.dim)]
        return self.proj(torch.cat(heads, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        return 4 * n * d * d + n * d
