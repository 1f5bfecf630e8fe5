"""Attention whose queries, keys and values have looked at their neighbours first.

Paper    Wu et al. 2021, "CvT: Introducing Convolutions to Vision Transformers", sec. 3.2.
Differs  Logits are divided by the root of a head's width, as in the paper; its code divides by that of all heads.
         Keys have no bias: one that all keys share changes no weight.
Shapes   B images, N tokens, M keys, D width, H heads, K width per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.tokens import Layout, Tokens


class ConvAttention(Mixer):
    """Softmax attention; each of query, key and value is a depthwise convolution, batch norm and a linear map.

    Keys and values are convolved with `stride`, so there are about `stride`^2 times fewer of them. Class tokens
    have no neighbours: they pass the convolutions by.
    """

    family = "hybrid attention"
    needs_grid = True
    trials = ({"kernel": 5, "stride": 1},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, kernel: int = 3, stride: int = 2) -> None:
        super().__init__(dim, heads, layout)
        if kernel < 1 or kernel % 2 == 0 or stride < 1:
            raise UserError(f"conv_attention: kernel must be odd and stride at least 1, got {kernel} and {stride}")
        self.head_dim = head_dim_of(dim, heads, None)
        self.grid = rows_and_columns(layout)
        self.kernel, self.stride = kernel, stride
        self.conv_q = _Convolved(dim, kernel, 1)
        self.conv_k = _Convolved(dim, kernel, stride)
        self.conv_v = _Convolved(dim, kernel, stride)
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        prefix_BPD, patches = tokens.x[:, : tokens.prefix], tokens.x[:, tokens.prefix :]
        image = patches.mT.unflatten(2, self.grid)

        def heads(conv: nn.Module, linear: nn.Module) -> Tensor:
            seen = conv(image).flatten(2).mT
            if tokens.prefix:
                seen = torch.cat((prefix_BPD.to(seen), seen), dim=1)
            return linear(seen).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

        q_BHNK, k_BHMK, v_BHMK = heads(self.conv_q, self.q), heads(self.conv_k, self.k), heads(self.conv_v, self.v)
        return self.proj(F.scaled_dot_product_attention(q_BHNK, k_BHMK, v_BHMK).transpose(1, 2).flatten(2))

    def reference(self, tokens: Tokens) -> Tensor:
        def heads(conv: _Convolved, linear: nn.Linear) -> list[Tensor]:
            norm, stride, half = conv.norm, conv.conv.stride[0], self.kernel // 2
            mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            rows, columns = self.grid
            seen = [tokens.x[:, i] for i in range(tokens.prefix)]
            for r in range(0, rows, stride):
                for c in range(0, columns, stride):
                    total = torch.zeros_like(tokens.x[:, 0])
                    for i in range(max(r - half, 0), min(r + half + 1, rows)):
                        for j in range(max(c - half, 0), min(c + half + 1, columns)):
                            tap = conv.conv.weight[:, 0, i - r + half, j - c + half]
                            total = total + tap * tokens.x[:, tokens.prefix + i * columns + j]
                    normed = (total - mean) / (variance + norm.eps).sqrt()
                    seen.append(normed * norm.weight + norm.bias)
            return list(linear(torch.stack(seen, dim=1)).split(self.head_dim, dim=-1))

        q, k, v = heads(self.conv_q, self.q), heads(self.conv_k, self.k), heads(self.conv_v, self.v)
        outs = [(q[h] @ k[h].mT / self.head_dim**0.5).softmax(-1) @ v[h] for h in range(self.heads)]
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        rows, columns = self.grid
        n, d, prefix = self.layout.num_tokens, self.dim, self.layout.prefix
        strided = -(-rows // self.stride) * -(-columns // self.stride)
        keys = strided + prefix
        convolved = self.kernel**2 * d * (rows * columns + 2 * strided)
        return convolved + 2 * n * d * d + 2 * keys * d * d + 2 * n * keys * d


class _Convolved(nn.Module):
    """Depthwise convolution and batch norm, (B, D, rows, columns) to as many channels."""

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, stride, padding=kernel // 2, groups=dim, bias=False)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.conv(image))
