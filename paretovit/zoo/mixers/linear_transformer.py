"""Attention with the kernel (elu(q) + 1) . (elu(k) + 1) in the place of the exponential.

Paper    Katharopoulos et al. 2020, "Transformers are RNNs", eqs. 4, 5 and 7.
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._kernelized import kernelized, kernelized_macs
from paretovit.zoo.tokens import Layout, Tokens

EPS = 1e-6  # added to the sum that divides, as in the authors' code


class LinearTransformer(Mixer):
    """Every token listens to sums over all tokens, at a cost linear in their number."""

    family = "kernel attention"
    rotates = True

    def __init__(self, dim: int, heads: int, layout: Layout) -> None:
        super().__init__(dim, heads, layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        # one copy here, or one for each of the products below
        qkv = self.qkv(tokens.x).view(B, N, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).contiguous()
        (qk,) = self.rotated(tokens, qkv[:2])
        # elu(x) + 1 from vectorised parts: on a CPU elu alone takes several times as long
        q_BHNK, k_BHNK = (qk.relu() + qk.clamp(max=0).exp()).unbind(0)
        out_BHNK = kernelized(q_BHNK, k_BHNK, qkv[2], eps=EPS)
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, D))

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = (part.transpose(1, 2) for part in self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        q, k = (torch.where(part > 0, part + 1, part.exp()) for part in self.rotated(tokens, q, k))
        outs = []
        for head in range(self.heads):
            weights_BNN = q[:, head] @ k[:, head].mT
            outs.append(weights_BNN @ v[:, head] / (weights_BNN.sum(-1, keepdim=True) + EPS))
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        return 4 * n * d * d + kernelized_macs(n, self.heads, self.head_dim, self.head_dim)
