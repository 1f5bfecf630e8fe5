"""Scaled dot-product attention over all tokens.

Paper    Vaswani et al. 2017, "Attention Is All You Need", eq. 1; in vision Dosovitskiy et al. 2020.
Shapes   B images, N tokens, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens


class Attention(Mixer):
    """Softmax attention of every token to every token.

    A token that stands for s patches counts s times, as log(s) added to its logits (Bolya et al. 2022,
    "Token Merging", eq. 1, proportional attention); tokens that are no longer alive are not heard. With
    `fused=False` the weights (B, H, N, N) are made and kept, as was usual before attention came as one operator:
    the same numbers at another cost of time and memory.
    """

    family = "baseline"
    attends = True
    answers = ("class_row", "keys")
    weighs_sizes = True
    hears_alive = True
    rotates = True
    enters = "qkv"
    trials = ({"fused": False}, {"head_dim": 6, "qkv_bias": False})

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        head_dim: int | None = None,
        qkv_bias: bool = True,
        fused: bool = True,
    ) -> None:
        super().__init__(dim, heads, layout)
        self.head_dim = head_dim_of(dim, heads, head_dim)
        inner = heads * self.head_dim
        self.fused = fused
        self.qkv = nn.Linear(dim, 3 * inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, dim)

    def _qkv(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        B, N, _ = tokens.x.shape
        q, k, v = self.qkv(tokens.x).view(B, N, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        return *self.rotated(tokens, q, k), v

    def _attend(self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, bias: Tensor | None) -> Tensor:
        if self.fused:
            return attend(q_BHNK, k_BHNK, v_BHNK, bias=bias)
        logits_BHNN = q_BHNK @ k_BHNK.mT * self.head_dim**-0.5
        return (logits_BHNN if bias is None else logits_BHNN + bias).softmax(-1) @ v_BHNK

    def _merge(self, out_BHNK: Tensor) -> Tensor:
        return self.proj(out_BHNK.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tokens) -> Tensor:
        return self._merge(self._attend(*self._qkv(tokens), logit_bias(tokens)))

    def answer(self, tokens: Tokens, ask: str) -> tuple[Tensor, Tensor]:
        if ask not in self.answers:
            return super().answer(tokens, ask)
        q_BHNK, k_BHNK, v_BHNK = self._qkv(tokens)
        bias = logit_bias(tokens)
        out = self._merge(self._attend(q_BHNK, k_BHNK, v_BHNK, bias))
        if ask == "keys":
            return out, k_BHNK
        logits_BH1N = q_BHNK[:, :, :1] @ k_BHNK.mT * self.head_dim**-0.5
        return out, (logits_BH1N if bias is None else logits_BH1N + bias).softmax(-1).squeeze(2)

    def answer_macs(self, ask: str) -> int:
        return self.layout.num_tokens * self.heads * self.head_dim if ask == "class_row" else 0

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = (part.transpose(1, 2) for part in self.qkv(tokens.x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        q, k = self.rotated(tokens, q, k)
        size = torch.ones(tokens.x.shape[:2]).to(q) if tokens.size is None else tokens.size
        alive = torch.ones_like(size) if tokens.alive is None else tokens.alive
        images = []
        for image in range(len(q)):
            outs = []
            for head in range(self.heads):
                weights = torch.exp(q[image, head] @ k[image, head].T / self.head_dim**0.5)
                weights = weights * (size[image] * alive[image])[None]
                outs.append(weights @ v[image, head] / weights.sum(1, keepdim=True))
            images.append(torch.cat(outs, dim=-1))
        return self.proj(torch.stack(images))

    def macs(self) -> int:
        n, inner = self.layout.num_tokens, self.heads * self.head_dim
        return n * self.dim * 3 * inner + 2 * n * n * inner + n * inner * self.dim


def logit_bias(tokens: Tokens) -> Tensor | None:
    """What sizes and removal add to the logits of each key, (B, 1, 1, N); None where they add nothing."""
    bias: Tensor | None = None
    if tokens.size is not None:
        bias = tokens.size.log()
    if tokens.alive is not None:
        if tokens.alive.requires_grad:
            # The weights are to be proportional to `alive`, and removed tokens, of weight 0, to learn what hearing
            # them would have changed. A logarithm of exactly 0 has no gradient; 1e-20 is not heard either.
            gone = (tokens.alive + 1e-20).log()
        else:
            gone = torch.zeros_like(tokens.x[..., 0]).masked_fill(tokens.alive < 0.5, float("-inf"))
        bias = gone if bias is None else bias + gone
    return None if bias is None else bias[:, None, None, :].to(tokens.x.dtype)
