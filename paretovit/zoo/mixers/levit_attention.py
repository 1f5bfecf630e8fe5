"""Attention among batch norms, which can be folded into the linear maps when a model is done learning.

Paper    Graham et al. 2021, "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", sec. 4.2.
Differs  As in Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision": no learned bias for each
         offset between tokens, GELU for Hardswish, and values as wide as keys.
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens


class LevitAttention(Mixer):
    """Softmax attention; queries, keys, values and what comes out are batch-normed, over images and tokens alike.

    The last gain starts at 0, so that a fresh block passes its tokens on. `out_bias` adds one before the last norm,
    which takes it away again: Jeevan and Sethi count it, but it learns nothing.
    """

    family = "hybrid attention"
    attends = True
    rotates = True
    trials = ({"head_dim": 6},)

    def __init__(
        self, dim: int, heads: int, layout: Layout, *, head_dim: int | None = None, out_bias: bool = False
    ) -> None:
        super().__init__(dim, heads, layout)
        self.head_dim = head_dim_of(dim, heads, head_dim)
        inner = heads * self.head_dim
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.qkv_norm = nn.BatchNorm1d(3 * inner)
        self.proj = nn.Linear(inner, dim, bias=out_bias)
        self.proj_norm = nn.BatchNorm1d(dim)
        nn.init.zeros_(self.proj_norm.weight)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, _ = tokens.x.shape
        qkv = self.qkv_norm(self.qkv(tokens.x).flatten(0, 1)).view(B, N, 3, self.heads, self.head_dim)
        q_BHNK, k_BHNK, v_BHNK = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q_BHNK, k_BHNK = self.rotated(tokens, q_BHNK, k_BHNK)
        out_BNC = attend(q_BHNK, k_BHNK, v_BHNK).transpose(1, 2).flatten(2)
        return self.proj_norm(self.proj(F.gelu(out_BNC)).flatten(0, 1)).view_as(tokens.x)

    def reference(self, tokens: Tokens) -> Tensor:
        def normed(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            return (x - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias

        qkv = normed(tokens.x @ self.qkv.weight.T, self.qkv_norm)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        q, k = self.rotated(tokens, q, k)
        outs = [(q[:, h] @ k[:, h].mT / self.head_dim**0.5).softmax(-1) @ v[:, h] for h in range(self.heads)]
        out = torch.cat(outs, dim=-1)
        return normed(self.proj(out * 0.5 * (1 + (out / 2**0.5).erf())), self.proj_norm)

    def macs(self) -> int:
        n, inner = self.layout.num_tokens, self.heads * self.head_dim
        return 4 * n * self.dim * inner + 2 * n * n * inner
