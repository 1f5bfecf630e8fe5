"""Attention to a few learned mixtures of the tokens.

Idea     Attention of N tokens to N tokens is nearly of low rank, so keys and values need stand only at L places, each
         a learned weighting of all tokens; the cost is linear in N.
Paper    Wang et al. 2020, "Linformer: Self-Attention with Linear Complexity", eq. 7, and sec. 4 for what is shared;
         one head of keys for all queries: Shazeer 2019, "Fast Transformer Decoding".
Differs  Of the paper's ways to share, one E for all layers is left out: a mixer belongs to one layer. Weighting the
         tokens and mapping them to keys are both linear, so whichever order costs less is taken.
Shapes   B images, N tokens, D width, H heads, G heads of keys, K width per head, L places.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens

MAPS = {"headwise": 2, "key_value": 2, "keys_as_values": 1}  # from tokens to keys and values
PROJECTIONS = {"headwise": 2, "key_value": 1, "keys_as_values": 1}  # along the tokens: E and F


class Linformer(Mixer):
    """Attention to keys and values at `length` learned places, or at as many as there are tokens if those are fewer.

    The paper takes 128 to 256 places for 512 to 4,096 tokens; at 197 these would shorten nothing, and 64 keep the
    proportion. `key_heads` heads of keys and values, as many as of queries unless told otherwise, each serve equally
    many heads of queries. `sharing` says what keys and values have in common:

    headwise        nothing: E places the keys, F the values, each the same in all heads
    key_value       E places both
    keys_as_values  E, and the map from the tokens too: the keys are the values
    """

    family = "low-rank attention"
    rotates = True
    trials = (
        {"length": 4},
        {"length": 4, "sharing": "key_value", "head_dim": 6},
        {"length": 20, "key_heads": 2},
        {"length": 4, "sharing": "keys_as_values", "key_heads": 1, "qkv_bias": False},
    )

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        length: int = 64,
        sharing: Literal["headwise", "key_value", "keys_as_values"] = "headwise",
        key_heads: int | None = None,
        head_dim: int | None = None,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__(dim, heads, layout)
        if length < 1:
            raise UserError(f"linformer: length must be at least 1, got {length}")
        if sharing not in MAPS:
            raise UserError(f"linformer: sharing must be one of {', '.join(MAPS)}, got {sharing!r}")
        self.key_heads = heads if key_heads is None else key_heads
        if self.key_heads < 1 or heads % self.key_heads:
            raise UserError(f"linformer: key_heads must divide the {heads} heads, got {key_heads}")
        self.head_dim = head_dim_of(dim, heads, head_dim)
        self.length, self.maps = min(length, layout.num_tokens), MAPS[sharing]
        inner, self.key_dim = heads * self.head_dim, self.key_heads * self.head_dim
        self.q = nn.Linear(dim, inner, bias=qkv_bias)
        self.kv = nn.Linear(dim, self.maps * self.key_dim, bias=qkv_bias)
        self.proj = nn.Linear(inner, dim)
        places = torch.empty(PROJECTIONS[sharing], layout.num_tokens, self.length)
        self.places = nn.Parameter(nn.init.uniform_(places, -(self.length**-0.5), self.length**-0.5))  # E, and F

    def forward(self, tokens: Tokens) -> Tensor:
        (q_BHNK,) = self.rotated(tokens, self.q(tokens.x).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2))
        if self.key_heads == 1:  # the queries of all heads are as many queries of that one, and lie so
            k_B1LK, v_B1LK = (part.unsqueeze(1) for part in self._heard(tokens))
            out = attend(q_BHNK.transpose(1, 2).flatten(1, 2).unsqueeze(1), k_B1LK, v_B1LK)
            return self.proj(out.squeeze(1).unflatten(1, (-1, self.heads)).flatten(2))
        k_BHLK, v_BHLK = (self._for_all_heads(part) for part in self._heard(tokens))
        return self.proj(attend(q_BHNK, k_BHLK, v_BHLK).transpose(1, 2).flatten(2))

    def _heard(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Keys and values at their places, both (B, L, G K)."""
        if self._maps_last():
            sides = len(self.places)
            weights = self.kv.weight.chunk(sides)
            biases = [None] * sides if self.kv.bias is None else self.kv.bias.chunk(sides)
            parts = []
            for e_NL, weight, bias in zip(self.places, weights, biases, strict=True):
                part = F.linear(_placed(e_NL, tokens.x), weight)
                parts.append(part if bias is None else torch.addcmul(part, e_NL.sum(0).unsqueeze(-1), bias))
        else:
            kv = self.kv(tokens.x)
            if len(self.places) == 1 and self.rotation is None:
                parts = [_placed(self.places[0], kv)]
            else:
                k_BGNK = kv[..., : self.key_dim].unflatten(-1, (self.key_heads, self.head_dim)).transpose(1, 2)
                (k_BGNK,) = self.rotated(tokens, k_BGNK)
                k, v = k_BGNK.transpose(1, 2).flatten(2), kv[..., -self.key_dim :]
                parts = [_placed(self.places[0], k), _placed(self.places[-1], v)]
        return parts[0][..., : self.key_dim], parts[-1][..., -self.key_dim :]

    def _for_all_heads(self, part_BLC: Tensor) -> Tensor:
        part_BGLK = part_BLC.unflatten(-1, (self.key_heads, self.head_dim)).transpose(1, 2)
        # a copy only where there are several heads of keys and more of queries
        return part_BGLK.unsqueeze(2).expand(-1, -1, self.heads // self.key_heads, -1, -1).flatten(1, 2)

    def _maps_last(self) -> bool:
        """Whether tokens are weighted before they are mapped: never if each must first be turned."""
        return self.rotation is None and self._macs_maps_last() < self._macs_maps_first()

    def reference(self, tokens: Tokens) -> Tensor:
        q, kv = self.q(tokens.x), self.kv(tokens.x)
        k, v = kv[..., : self.key_dim], kv[..., -self.key_dim :]
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in (q, k, v))
        q, k = *self.rotated(tokens, q), *self.rotated(tokens, k)
        e, f = self.places[0], self.places[-1]
        outs = []
        for head in range(self.heads):
            key_head = head * self.key_heads // self.heads
            logits = q[:, head] @ (e.T @ k[:, key_head]).mT / self.head_dim**0.5
            outs.append(logits.softmax(-1) @ (f.T @ v[:, key_head]))
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        n, inner = self.layout.num_tokens, self.heads * self.head_dim
        heard = self._macs_maps_last() if self._maps_last() else self._macs_maps_first()
        return 2 * n * self.dim * inner + heard + 2 * n * self.length * inner

    def _macs_maps_first(self) -> int:
        n, placed = self.layout.num_tokens, self.maps if self.rotation is None else 2
        return n * self.key_dim * (self.maps * self.dim + placed * self.length)

    def _macs_maps_last(self) -> int:
        n = self.layout.num_tokens
        return self.length * self.dim * (len(self.places) * n + self.maps * self.key_dim)


def _placed(e_NL: Tensor, x_BNC: Tensor) -> Tensor:
    """Sums of tokens weighted by E, (B, L, C).

    Of a matrix that is trained torch.matmul would make one long product, and copy the tokens for it.
    """
    return torch.bmm(e_NL.to(x_BNC.dtype).mT.expand(len(x_BNC), -1, -1), x_BNC)
