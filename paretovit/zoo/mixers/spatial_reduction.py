"""Attention whose keys and values come from a smaller map, and whose heads may hear each other.

Idea     Neighbouring tokens say much the same, so a query listens to one learned summary of each block of them. Heads
         see different parts of the width; mixing their logits gives each a view of all.
Paper    Wang et al. 2021, "Pyramid Vision Transformer", sec. 3.3; with the depthwise reduction and the mixed heads of
         Zhang and Yang 2021, "ResT: An Efficient Transformer for Visual Recognition", sec. 3.
Differs  The 1 x 1 convolution over heads has no bias, and with it keys, values and the layer norm before them have
         none: what all keys share changes no softmax, and the norm behind it takes what all values share away.
Shapes   B images, N tokens, M keys, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.depthwise import strided
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens, as_map, as_tokens


class SpatialReduction(Mixer):
    """Softmax attention to a map of `ratio` times fewer rows and columns.

    The map is a depthwise convolution with stride `ratio` whose kernel reaches one further, and layer norm; with a
    ratio of 1 it is that of the tokens. With `mix_heads`, and more heads than one, the logits of all heads are mixed
    before the softmax and its weights are brought to mean 0 and variance 1 for each image and head (instance norm).
    """

    family = "hybrid attention"
    takes_prefix = False
    needs_grid = True
    trials = ({"ratio": 1}, {"ratio": 3, "mix_heads": False}, {"ratio": 1, "mix_heads": False})

    def __init__(self, dim: int, heads: int, layout: Layout, *, ratio: int = 2, mix_heads: bool = True) -> None:
        super().__init__(dim, heads, layout)
        if ratio < 1:
            raise UserError(f"spatial_reduction: ratio must be at least 1, got {ratio}")
        self.grid, self.ratio = rows_and_columns(layout), ratio
        self.head_dim = head_dim_of(dim, heads, None)
        self.mix = nn.Conv2d(heads, heads, 1, bias=False) if mix_heads and heads > 1 else None
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim, bias=self.mix is None)
        self.proj = nn.Linear(dim, dim)
        if ratio > 1:
            reach = ratio + 1
            self.reduce = nn.Conv2d(dim, dim, reach, ratio, padding=ratio // 2, groups=dim)
            self.reduce_norm = nn.LayerNorm(dim, bias=self.mix is None)
            if self._keys() == 0:
                raise UserError(f"spatial_reduction: ratio {ratio} leaves nothing of a map of {self.grid}")

    def _side(self, side: int) -> int:
        return (side + 2 * (self.ratio // 2) - self.ratio - 1) // self.ratio + 1 if self.ratio > 1 else side

    def _keys(self) -> int:
        rows, columns = (self._side(side) for side in self.grid)
        return max(rows, 0) * max(columns, 0)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        heard = tokens.x
        if self.ratio > 1:
            heard = self.reduce_norm(as_tokens(strided(self.reduce, as_map(tokens.x, self.grid))))
        q_BHNK = self.q(tokens.x).view(B, N, self.heads, self.head_dim).transpose(1, 2)
        k_BHMK, v_BHMK = self.kv(heard).view(B, -1, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        if self.mix is None:
            out_BHNK = attend(q_BHNK, k_BHMK, v_BHMK)
        else:
            logits_BHNM = (q_BHNK * self.head_dim**-0.5) @ k_BHMK.mT
            # a product: a convolution of so few channels takes a CPU ten times as long
            mixed_BHX = self.mix.weight.flatten(1).expand(B, -1, -1).bmm(logits_BHNM.flatten(2))
            weights_BHNM = mixed_BHX.view_as(logits_BHNM).softmax(-1)
            centred_BHNM = weights_BHNM - 1 / weights_BHNM.shape[-1]  # before the product, as half precision needs
            # torch's instance norm refuses a map of one token, and its `var` is slow on a CPU
            kind = torch.promote_types(weights_BHNM.dtype, torch.float32)
            length_BH11 = torch.linalg.vector_norm(centred_BHNM, dim=(-2, -1), keepdim=True, dtype=kind)
            scale_BH11 = (length_BH11.square() / centred_BHNM[0, 0].numel() + 1e-5).rsqrt()
            out_BHNK = centred_BHNM.to(v_BHMK.dtype) @ v_BHMK * scale_BH11.to(v_BHMK.dtype)  # scaled where it is small
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, D))

    def reference(self, tokens: Tokens) -> Tensor:
        heard = self._reduced(tokens.x) if self.ratio > 1 else tokens.x
        k, v = self.kv(heard).chunk(2, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.q(tokens.x), k, v))
        logits = [q[:, h] @ k[:, h].mT / self.head_dim**0.5 for h in range(self.heads)]
        if self.mix is not None:
            share = self.mix.weight[:, :, 0, 0]
            logits = [sum(share[h, g] * logits[g] for g in range(self.heads)) for h in range(self.heads)]
        outs = []
        for h, logit in enumerate(logits):
            weights = logit.softmax(-1)
            if self.mix is not None:
                mean = 1 / weights.shape[-1]
                variance = ((weights - mean) ** 2).mean((1, 2), keepdim=True)
                weights = (weights - mean) / (variance + 1e-5).sqrt()
            outs.append(weights @ v[:, h])
        return self.proj(torch.cat(outs, dim=-1))

    def _reduced(self, x: Tensor) -> Tensor:
        (rows, columns), half, reach = self.grid, self.ratio // 2, self.ratio + 1
        seen = []
        for r in range(-half, rows + half - reach + 1, self.ratio):
            for c in range(-half, columns + half - reach + 1, self.ratio):
                total = self.reduce.get_parameter("bias") + torch.zeros_like(x[:, 0])
                for i in range(max(r, 0), min(r + reach, rows)):
                    for j in range(max(c, 0), min(c + reach, columns)):
                        total = total + self.reduce.weight[:, 0, i - r, j - c] * x[:, i * columns + j]
                centred = total - total.mean(-1, keepdim=True)
                normed = centred / (centred.square().mean(-1, keepdim=True) + self.reduce_norm.eps).sqrt()
                shift = 0.0 if self.reduce_norm.bias is None else self.reduce_norm.bias
                seen.append(normed * self.reduce_norm.weight + shift)
        return torch.stack(seen, dim=1)

    def macs(self) -> int:
        n, d, m = self.layout.patches, self.dim, self._keys()
        reduced = m * d * (self.ratio + 1) ** 2 if self.ratio > 1 else 0
        mixed = n * m * self.heads**2 if self.mix is not None else 0
        return reduced + 2 * n * d * d + 2 * m * d * d + 2 * n * m * d + mixed
