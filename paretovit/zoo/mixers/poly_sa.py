"""Attention as a polynomial of third degree: products of queries, keys and values, and no softmax.

Idea     Attention is a sum of products of three linear maps of the tokens. With learned weights for who is summed
         and who listens, in the place of those that queries and keys agree on, it is linear in the tokens.
Paper    Babiloni et al. 2023, "Linear Complexity Self-Attention with 3rd Order Polynomials", Poly-SA.
Differs  Follows the survey's reading of it (Nauen et al. 2023), with the norm over what a head has summed.
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.tokens import Layout, Tokens

NORM_EPS = 1e-6  # as in the rest of the survey's models


class PolySa(Mixer):
    """A head's query times its share of what all tokens' keys times values add up to.

    How much a token gives to that sum (`give`) and takes of it (`take`) is learned, one number per head and token.
    """

    family = "kernel attention"

    def __init__(self, dim: int, heads: int, layout: Layout) -> None:
        super().__init__(dim, heads, layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.give = nn.Parameter(torch.empty(heads, layout.num_tokens))
        self.take = nn.Parameter(torch.empty(heads, layout.num_tokens))
        trunc_normal_(self.give, std=0.02)
        trunc_normal_(self.take, std=0.02)
        self.norm = nn.LayerNorm(self.head_dim, eps=NORM_EPS)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        q_BND, k_BND, v_BND = self.qkv(tokens.x).chunk(3, dim=-1)
        heard_BHK = self.norm(self._heard(k_BND * v_BND))
        q_BNHK = q_BND.unflatten(-1, (self.heads, self.head_dim)) * self.take.T.unsqueeze(-1)
        return self.proj((q_BNHK * heard_BHK.unsqueeze(1)).flatten(2))

    def _heard(self, kv_BND: Tensor) -> Tensor:
        """Sums over tokens, weighted by each head's `give`, (B, H, K).

        One product gives every head the sums of all channels, of which its own are kept: more arithmetic than a
        sum per head, and less memory traffic, which is what it takes.
        """
        sums_BHD = torch.bmm(self.give.expand(len(kv_BND), -1, -1), kv_BND)
        return sums_BHD.unflatten(-1, (self.heads, self.head_dim)).diagonal(dim1=1, dim2=2).mT

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = self.qkv(tokens.x).chunk(3, dim=-1)
        outs = []
        for head in range(self.heads):
            at = slice(head * self.head_dim, (head + 1) * self.head_dim)
            heard = sum(self.give[head, n] * k[:, n, at] * v[:, n, at] for n in range(q.shape[1]))
            assert isinstance(heard, Tensor)
            off = heard - heard.mean(-1, keepdim=True)
            normed = off / (off.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * self.norm.weight + self.norm.bias
            outs.append(torch.stack([q[:, n, at] * self.take[head, n] * normed for n in range(q.shape[1])], dim=1))
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        return 4 * n * d * d + n * d * self.heads
